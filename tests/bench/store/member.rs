//! Members of our store in a process of their own: this program once more, told by a folder.
//!
//! ```text
//! folder/ca.crt, ca.key, members     written by who starts it
//! stdout: the leader's address       once it takes writes
//! stdin: its end is this process'
//! ```

use std::io::{BufRead as _, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pki::Authority;

use super::ours::Cluster;

/// What this program is started with.
pub const FLAG: &str = "--members-of";

/// Such a process; it ends with this value.
pub struct Members {
    child: Child,
    /// Where the leader listens.
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Members {
    pub fn start(authority: &Authority, members: usize) -> Members {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in [
            ("ca.crt", authority.certificate_pem().to_owned()),
            ("ca.key", authority.key_pem().to_string()),
            ("members", members.to_string()),
        ] {
            std::fs::write(folder.path().join(name), content).expect("a file");
        }
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .arg(FLAG)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program once more");
        let mut address = String::new();
        let said = child.stdout.take().expect("its output");
        std::io::BufReader::new(said).read_line(&mut address).expect("an address");
        Members { child, address: address.trim().to_owned(), _folder: folder }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        // It removes its folders and ends when nobody is there any more.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What the process does.
pub fn serve(folder: &Path) {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
    let authority = Authority::from_pem("ca", &read("ca.crt"), &read("ca.key")).expect("an authority");
    let members = read("members").parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let cluster = runtime.block_on(Cluster::start(authority, members));
    println!("{}", cluster.addresses[cluster.leader()]);
    let mut nothing = Vec::new();
    // Until who started this is gone.
    let _ = std::io::stdin().read_to_end(&mut nothing);
}
