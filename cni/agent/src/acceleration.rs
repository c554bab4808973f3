//! The flag that says whether uplinks are accelerated; what the words mean is the data path's.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Acceleration {
    /// By XDP in the driver of the uplink; a driver that cannot is an error.
    Native,
    /// Where the driver can, and the uplink is no veth pair.
    BestEffort,
    /// Packets take the way of tc.
    #[default]
    Disabled,
}

impl From<Acceleration> for datapath::Acceleration {
    fn from(acceleration: Acceleration) -> datapath::Acceleration {
        match acceleration {
            Acceleration::Native => datapath::Acceleration::Native,
            Acceleration::BestEffort => datapath::Acceleration::BestEffort,
            Acceleration::Disabled => datapath::Acceleration::Disabled,
        }
    }
}
