//! [`ZoneFile`]: a zone that is read when a name needs it.

use std::cell::OnceCell;
use std::rc::Rc;

use super::{Checks, Source, Zone, read};
use crate::name::DnsName;
use crate::verify::against::files::{Loader, Place};

/// A file with the records of a zone.
pub(in super::super) struct ZoneFile {
    origin: DnsName,
    path: String,
    /// The folder to which `$INCLUDE` is relative.
    folder: String,
    /// The directive that names it.
    place: Place,
    zone: OnceCell<Option<Rc<Zone>>>,
}

impl ZoneFile {
    pub(in super::super) fn new(
        origin: DnsName,
        file: &str,
        folder: &str,
        place: &Place,
        loader: &Loader<'_>,
    ) -> Rc<Self> {
        let path = loader.path(folder, file);
        loader.refer(&path);
        Rc::new(Self {
            origin,
            path,
            folder: folder.to_owned(),
            place: place.clone(),
            zone: OnceCell::new(),
        })
    }

    /// Returns the zone; if it cannot be read, or a server would not load it, the reason is noted.
    pub(in super::super) fn get(&self, loader: &Loader<'_>, checks: Checks) -> Option<Rc<Zone>> {
        let load = || {
            let note = |why: &str| {
                loader.note(&self.place, &format!("zone \"{}\"", self.origin), why);
            };
            let text = loader.read(&self.path);
            let text = text.map_err(|why| note(&format!("{}: {why}", self.path)));
            let source = Source {
                text: &text.ok()?,
                file: &self.path,
                folder: &self.folder,
            };
            let zone = read(&source, self.origin, loader);
            if zone.is_none() {
                note("its file has no start of authority for it");
            }
            let zone = zone?;
            if let Some(defect) = zone.defect(checks) {
                note(&defect);
                return None;
            }
            Some(Rc::new(zone))
        };
        self.zone.get_or_init(load).clone()
    }
}
