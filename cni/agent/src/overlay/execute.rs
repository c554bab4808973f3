//! The only place that changes the tunnel.

use std::fs;
use std::path::PathBuf;

use netlink::{Batch, Forward, Kind, LinkChange, Neighbour, NetlinkError, NewLink, Vxlan};

use super::{Desired, Observed, PORT, Step, VNI};
use crate::network::{Host, NetworkError};

impl Host {
    /// Reads what is there of the tunnel of this name.
    pub fn observe_tunnel(&mut self, name: &str) -> Result<Observed, NetworkError> {
        let failed = |source| NetworkError::Kernel { what: "looking at the tunnel".to_owned(), source };
        let Some(link) = self.0.link_named(name).map_err(failed)? else { return Ok(Observed::default()) };
        let is_here = |index: u32| index == link.index;
        let neighbours = self.0.neighbours().map_err(failed)?;
        let forwards = self.0.forwards().map_err(failed)?;
        Ok(Observed {
            neighbours: neighbours
                .into_iter()
                .filter(|there| there.permanent && is_here(there.link))
                .collect(),
            forwards: forwards.into_iter().filter(|there| is_here(there.link)).collect(),
            link: Some(link),
        })
    }

    pub fn execute_tunnel(&mut self, desired: Option<&Desired>, step: &Step) -> Result<(), NetworkError> {
        let failed = |source| NetworkError::Kernel { what: format!("making {step}"), source };
        let mut batch = Batch::new();
        match (step, desired) {
            (Step::RemoveLink(index), _) => {
                batch.delete_link(*index);
            }
            (Step::MakeLink, Some(desired)) => return self.make_tunnel(desired).map_err(failed),
            (Step::SetUp, Some(desired)) => return self.set_up_tunnel(desired),
            (Step::Enter { forwards, neighbours }, Some(desired)) => {
                let link = self.tunnel_index(desired).map_err(failed)?;
                for (mac, to) in forwards {
                    batch.set_forward(&Forward { link, mac: *mac, to: *to });
                }
                for (hop, mac) in neighbours {
                    batch.set_neighbour(&Neighbour::permanent(link, *hop, *mac));
                }
            }
            (Step::Remove { forwards, neighbours }, _) => {
                for there in forwards {
                    batch.delete_forward(there);
                }
                for there in neighbours {
                    batch.delete_neighbour(there);
                }
            }
            (Step::MakeLink | Step::SetUp | Step::Enter { .. }, None) => {}
        }
        match self.0.run(&batch) {
            // Gone meanwhile is as good.
            Err(error) if matches!(step, Step::Remove { .. }) && error.only(libc::ENOENT) => Ok(()),
            outcome => outcome.map_err(failed),
        }
    }

    fn make_tunnel(&mut self, desired: &Desired) -> Result<(), NetlinkError> {
        let tunnel = Vxlan { id: VNI, port: PORT, local: desired.local, underlay: desired.underlay };
        let mut batch = Batch::new();
        batch.add_link(&NewLink {
            name: &desired.name,
            mac: Some(desired.mac),
            mtu: Some(desired.mtu),
            up: false,
            kind: Kind::Vxlan(tunnel),
        });
        self.0.run(&batch)?;
        let link = self.tunnel_index(desired)?;
        let mark = desired.mark();
        let mut batch = Batch::new();
        batch.change_link(link, &LinkChange { link_local: Some(false), ..LinkChange::default() });
        // Last: a link without its mark is made anew.
        batch.change_link(link, &LinkChange { alias: Some(&mark), ..LinkChange::default() });
        self.0.run(&batch)
    }

    fn set_up_tunnel(&mut self, desired: &Desired) -> Result<(), NetworkError> {
        let failed = |source| NetworkError::Kernel { what: "setting the tunnel up".to_owned(), source };
        // Answers come by another way than questions: loose, also where "all" is strict.
        for (family, name, value) in [("ipv4", "rp_filter", "2"), ("ipv6", "accept_ra", "0")] {
            let path = PathBuf::from(format!("/proc/sys/net/{family}/conf/{}/{name}", desired.name));
            match fs::write(&path, value) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && family == "ipv6" => {}
                written => written.map_err(|source| NetworkError::Sysctl {
                    path: path.display().to_string(),
                    value,
                    source,
                })?,
            }
        }
        let link = self.tunnel_index(desired).map_err(failed)?;
        let mut batch = Batch::new();
        batch.change_link(link, &LinkChange { up: Some(true), ..LinkChange::default() });
        self.0.run(&batch).map_err(failed)
    }

    fn tunnel_index(&mut self, desired: &Desired) -> Result<u32, NetlinkError> {
        self.index(&desired.name)
    }
}
