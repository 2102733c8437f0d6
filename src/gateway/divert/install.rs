//! [`Installation`]: the diversion in the kernel, from its start to its end.

use std::fs;
use std::io;
use std::path::Path;

use super::Diversion;
use super::nft::{self, NftError};
use super::route::{Netlink, NetlinkError, device_settings};
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
    /// Leads what `diversion` names into the device it names, which exists and has a reader.
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
                installation.abandon().await;
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
        self.netlink
            .set_routes(&diversion.routes(), self.device)
            .await?;
        self.netlink
            .set_rules(&diversion.rules(), diversion.mark.mask())
            .await?;
        Ok(nft::install(diversion)?)
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
        if wanted == *before {
            return Ok(());
        }
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
        let mask = wanted.mark.mask();
        let routes = [self.installed.routes(), wanted.routes()].concat();
        let mut rules = [self.installed.rules(), wanted.rules()].concat();
        rules.sort_unstable();
        rules.dedup();
        self.netlink.set_routes(&routes, self.device).await?;
        self.netlink.set_rules(&rules, mask).await?;
        nft::install(wanted)?;
        self.netlink.set_rules(&wanted.rules(), mask).await?;
        self.netlink
            .set_routes(&wanted.routes(), self.device)
            .await?;
        Ok(())
    }

    /// Brings back the routes that went when the device was down for a while.
    ///
    /// # Errors
    /// [`DivertError`].
    pub async fn repair(&self) -> Result<(), DivertError> {
        let routes = self.installed.routes();
        Ok(self.netlink.set_routes(&routes, self.device).await?)
    }

    /// Ends the diversion: from here on nothing more is led to the device.
    ///
    /// # Errors
    /// [`NftError`].
    pub fn stop(&self) -> Result<(), NftError> {
        nft::remove()
    }

    /// Removes everything else that was added; the device goes with its last reader.
    ///
    /// # Errors
    /// [`DivertError`].
    pub async fn remove(self) -> Result<(), DivertError> {
        remove_all(&self.netlink).await.map(|_| ())
    }

    /// Leaves the kernel as the operator wants it while the filter is away against its will.
    pub async fn abandon(&self) {
        match self.installed.on_failure {
            FailMode::Open => {
                // Whatever is left leads to a device that is gone: it diverts nothing.
                _ = remove_all(&self.netlink).await;
            }
            FailMode::Closed => {}
        }
    }
}

/// Removes everything that any process of ours has added, but for devices; how much that was.
///
/// # Errors
/// [`DivertError`].
pub async fn remove_all(netlink: &Netlink) -> Result<usize, DivertError> {
    nft::remove()?;
    netlink.set_rules(&[], 0).await?;
    Ok(netlink.remove_routes().await?)
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
