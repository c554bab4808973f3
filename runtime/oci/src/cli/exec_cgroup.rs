//! Where `exec` puts its process: the container's cgroup, or one below it that `--cgroup` names.
//!
//! `PATH` is meant in every hierarchy, `CONTROLLER[,CONTROLLER]:PATH` in those of version 1 that have the controllers.
//! The path must exist and cannot lead out of the container's cgroup.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use sys::cgroup::{Cgroup, Layout, Version};

use crate::container::ContainerError;

pub(super) struct Place {
    /// The cgroup2 directory.
    pub(super) unified: Option<OwnedFd>,
    /// `cgroup.procs` files of version 1.
    pub(super) procs: Vec<PathBuf>,
}

impl Place {
    pub(super) fn find(container: &str, options: &[String]) -> Result<Place, ContainerError> {
        let layout = Layout::detect()?;
        let own = Cgroup::open(&layout, container)?;
        let mut place = Place { unified: own.v2_dir()?, procs: own.v1_procs() };
        for option in options {
            match option.split_once(':') {
                None => {
                    let below = Cgroup::open(&layout, &below(container, option)?)?;
                    place.unified = below.v2_dir()?.or(place.unified);
                    for procs in below.v1_procs() {
                        place.replace(&layout, procs);
                    }
                }
                Some((controllers, path)) => place.in_controllers(&layout, container, controllers, path)?,
            }
        }
        Ok(place)
    }

    fn in_controllers(
        &mut self,
        layout: &Layout,
        container: &str,
        controllers: &str,
        path: &str,
    ) -> Result<(), ContainerError> {
        let below = below(container, path)?;
        for controller in controllers.split(',') {
            let known = |name: &String| name == controller || name.strip_prefix("name=") == Some(controller);
            let hierarchy = layout
                .hierarchies
                .iter()
                .find(|hierarchy| hierarchy.version == Version::V1 && hierarchy.controllers.iter().any(known))
                .ok_or_else(|| usage(controller, "no cgroup v1 hierarchy has this controller"))?;
            let procs = hierarchy.mount.join(&below).join("cgroup.procs");
            if !procs.exists() {
                return Err(usage(path, "does not exist"));
            }
            self.replace(layout, procs);
        }
        Ok(())
    }

    /// Takes the file's hierarchy over from what was chosen before.
    fn replace(&mut self, layout: &Layout, procs: PathBuf) {
        let mount =
            layout.hierarchies.iter().map(|hierarchy| &hierarchy.mount).find(|m| procs.starts_with(m));
        self.procs.retain(|known| mount.is_none_or(|mount| !known.starts_with(mount)));
        self.procs.push(procs);
    }
}

/// The path below the container's cgroup.
fn below(container: &str, path: &str) -> Result<String, ContainerError> {
    let plain = Path::new(path)
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::RootDir | Component::CurDir));
    if !plain {
        return Err(usage(path, "may not lead out of the container's cgroup"));
    }
    Ok(format!("{container}/{}", path.trim_matches('/')).trim_end_matches('/').to_owned())
}

fn usage(what: &str, why: &str) -> ContainerError {
    ContainerError::Usage(format!("--cgroup: `{what}`: {why}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn paths_stay_below_the_container() {
        for (path, expect) in [
            ("sub", Some("c/sub")),
            ("/a/b/", Some("c/a/b")),
            ("/", Some("c")),
            ("../x", None),
            ("a/../b", None),
        ] {
            assert_eq!(super::below("c", path).ok().as_deref(), expect, "{path}");
        }
    }
}
