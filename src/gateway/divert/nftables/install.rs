//! [`Installation`]: the diversion in the kernel, from its start to its end.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::nft::{self, NftError};
use super::route::{Netlink, NetlinkError, device_settings};
use super::{Diversion, DivertRoute, MarkRule, RouteTarget};
use crate::policy::FailMode;

/// A diversion that the kernel knows of.
#[derive(Debug)]
pub struct Installation {
    netlink: Netlink,
    /// Index of the filter's device.
    device: u32,
    installed: Diversion,
}

/// Why the kernel's part could not be set up, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum DivertError {
    /// Links, routes and rules.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The marks.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// A setting of the filter's device.
    #[error("cannot set {key}: {source}; /proc/sys must be writable")]
    Setting {
        /// Its path under `/proc/sys`.
        key: String,
        /// What the system says.
        source: io::Error,
    },
}

impl Installation {
    /// RouteTarget what `diversion` names into the device it names, which exists and has a reader.
    ///
    /// Takes over what a killed process left. Nothing is diverted before the last step, which is atomic.
    ///
    /// # Errors
    /// [`DivertError`], with everything undone but for what keeps a gateway closed that is to be.
    pub async fn install(netlink: Netlink, diversion: Diversion) -> Result<Self, DivertError> {
        let mut installation = Self {
            netlink,
            device: 0,
            installed: diversion,
        };
        match installation.install_all().await {
            Ok(()) => Ok(installation),
            Err(error) => {
                // The first error is the one to tell.
                _ = installation.abandon().await;
                Err(error)
            }
        }
    }

    async fn install_all(&mut self) -> Result<(), DivertError> {
        let diversion = &self.installed;
        // Before the device is on, or it speaks as soon as it can.
        for (key, value) in device_settings(&diversion.device) {
            set(&key, value)?;
        }
        self.device = self.netlink.set_up_device(&diversion.device).await?;
        self.tell(&diversion.routes(), &diversion.rules(), diversion)
            .await
    }

    /// Gives the kernel these routes and rules, and the marks of `diversion`: in this order what is marked finds its way.
    async fn tell(
        &self,
        routes: &[DivertRoute],
        rules: &[MarkRule],
        diversion: &Diversion,
    ) -> Result<(), DivertError> {
        let mask = diversion.mark.mask();
        self.netlink.set_routes(routes, self.device).await?;
        self.netlink.set_rules(rules, mask).await?;
        install_marks(diversion).await
    }

    /// What the kernel was told.
    pub fn diversion(&self) -> &Diversion {
        &self.installed
    }

    /// Diverts what `wanted` names instead; what both name is diverted all the time.
    ///
    /// The device, the bits of the mark and the tables stay those of the start.
    ///
    /// # Errors
    /// [`DivertError`], with the diversion as it was, as far as the kernel takes it back.
    pub async fn change(&mut self, wanted: Diversion) -> Result<(), DivertError> {
        let before = &self.installed;
        let wanted = Diversion {
            device: before.device.clone(),
            mark: before.mark,
            table: before.table,
            ..wanted
        };
        match self.change_to(&wanted).await {
            Ok(()) => {
                self.installed = wanted;
                Ok(())
            }
            Err(error) => {
                let before = self.installed.clone();
                // The first error is the one to tell.
                _ = self.change_to(&before).await;
                Err(error)
            }
        }
    }

    async fn change_to(&self, wanted: &Diversion) -> Result<(), DivertError> {
        let routes = [self.installed.routes(), wanted.routes()].concat();
        let mut rules = [self.installed.rules(), wanted.rules()].concat();
        rules.sort_unstable();
        rules.dedup();
        self.tell(&routes, &rules, wanted).await?;
        let mask = wanted.mark.mask();
        self.netlink.set_rules(&wanted.rules(), mask).await?;
        self.netlink
            .set_routes(&wanted.routes(), self.device)
            .await?;
        Ok(())
    }

    /// Brings back what somebody else has taken away: routes go when the device is off, rules and tables when others
    /// reload theirs as if they were alone. What was missing, in words; `None` where nothing was.
    ///
    /// # Errors
    /// [`DivertError`].
    pub async fn repair(&self) -> Result<Option<String>, DivertError> {
        let diversion = &self.installed;
        let routes = self
            .netlink
            .set_routes(&diversion.routes(), self.device)
            .await?;
        let rules = self
            .netlink
            .set_rules(&diversion.rules(), diversion.mark.mask())
            .await?;
        let mut missing = Vec::new();
        if !run_nft(nft::is_installed).await? {
            install_marks(diversion).await?;
            missing.push("the nftables table".to_owned());
        }
        for (count, what) in [(rules, "routing rules"), (routes, "routes")] {
            if count > 0 {
                missing.push(format!("{count} {what}"));
            }
        }
        Ok((!missing.is_empty()).then(|| missing.join(", ")))
    }

    /// Ends the diversion: from here on nothing more is led to the device.
    ///
    /// # Errors
    /// [`DivertError`], with everything tried: either of marks and rules is enough to end it.
    pub async fn stop(&self) -> Result<(), DivertError> {
        let marks = run_nft(nft::remove).await;
        let rules = self.netlink.set_rules(&[], 0).await;
        marks?;
        rules?;
        Ok(())
    }

    /// Removes everything else that was added; the device goes with its last reader.
    ///
    /// # Errors
    /// [`DivertError`].
    pub async fn remove(self) -> Result<(), DivertError> {
        remove_all(&self.netlink).await.map(|_| ())
    }

    /// Leaves the kernel as the operator wants it while the filter is away against its will.
    ///
    /// # Errors
    /// [`DivertError`] where it does not take it.
    pub async fn abandon(&self) -> Result<(), DivertError> {
        let diversion = &self.installed;
        match diversion.on_failure {
            FailMode::Open => remove_all(&self.netlink).await.map(|_| ()),
            FailMode::Closed => {
                let routes = diversion.routes().into_iter();
                let blackholes: Vec<_> = routes
                    .filter(|it| it.target == RouteTarget::Blackhole)
                    .collect();
                self.tell(&blackholes, &diversion.rules(), diversion).await
            }
        }
    }
}

async fn install_marks(diversion: &Diversion) -> Result<(), DivertError> {
    let diversion = diversion.clone();
    Ok(run_nft(move || nft::install(&diversion)).await?)
}

/// Has `nft` run beside the control task, which does not wait for it for ever.
async fn run_nft<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NftError> + Send + 'static,
) -> Result<T, NftError> {
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(failed)) => Err(NftError::Refused(failed.to_string())),
        Err(_) => Err(NftError::Refused(format!(
            "it has not ended within {} seconds",
            PATIENCE.as_secs()
        ))),
    }
}

/// How long `nft` may take: a table of ours takes it milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes everything that any process of ours has added, but for devices; how much that was.
///
/// # Errors
/// [`DivertError`].
pub async fn remove_all(netlink: &Netlink) -> Result<usize, DivertError> {
    // Each is tried, whatever became of the others.
    let marks = run_nft(nft::remove).await;
    let rules = netlink.set_rules(&[], 0).await;
    let routes = netlink.remove_routes().await?;
    marks?;
    rules?;
    Ok(routes)
}

fn set(key: &str, value: &str) -> Result<(), DivertError> {
    let path = Path::new("/proc/sys").join(key);
    match fs::read_to_string(&path) {
        // A kernel without IPv6 has none of its settings.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // It may be right and read-only, as in a container.
        Ok(text) if text.trim() == value => return Ok(()),
        Ok(_) | Err(_) => {}
    }
    fs::write(&path, value).map_err(|source| DivertError::Setting {
        key: key.to_owned(),
        source,
    })
}
