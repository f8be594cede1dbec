//! What the words of a restore mean together: checked before anything is touched.

use super::aside;
use super::engine::Manner;
use crate::args::RestoreArgs;
use crate::args::target_name::TargetPlace;
use crate::exit::Failure;
use crate::paths::{absolute, is_inside};
use crate::reach::{self, Found, Trust};
use crate::source::mounts::{self, Mount};
use crate::state::Places;
use protocol::{CHUNK_BYTES, MIN_HASH_BLOCK_BYTES, Name, RelPath};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that is known before the target is asked.
#[derive(Debug)]
pub(super) struct Plan {
    pub places: Places,
    pub from: TargetPlace,
    /// Of a target on the network.
    pub trust: Option<Trust>,
    pub connect_timeout: Duration,
    pub name: Name,
    /// Within the replica, none below another; the root alone is all of it.
    pub paths: Vec<RelPath>,
    /// DIR, absolute.
    pub to: PathBuf,
    /// Where what would be lost is put.
    pub aside: PathBuf,
    pub manner: Manner,
    pub json: bool,
}

impl Plan {
    /// Reads and checks the words.
    pub fn read(args: &RestoreArgs) -> Result<Self, Failure> {
        let places = Places::find(&args.state)?;
        let shown = args.name.to_string_lossy();
        let name = Name::new(args.name.as_bytes())
            .map_err(|e| Failure::usage(format!("name '{shown}': {e}; give 1 to 255 bytes without '/'")))?;
        let ours = |place: &scm::peers::TargetPlace| place.dir.as_bytes() == name.as_bytes();
        let Found { place, trust, .. } = reach::find(&places, &args.from, args.target_key.as_deref(), ours)?;
        let from = match place {
            TargetPlace::Local(root) => TargetPlace::Local(absolute(&root)),
            TargetPlace::None => {
                return Err(Failure::usage("nothing can be restored from 'none'; name the target with --from"));
            }
            remote @ TargetPlace::Remote { .. } => remote,
        };
        let block_bytes = u32::try_from(args.block_size)
            .ok()
            .filter(|bytes| *bytes >= MIN_HASH_BLOCK_BYTES && u64::from(*bytes) <= CHUNK_BYTES)
            .ok_or_else(|| Failure::usage("block-size: give 512 bytes to 1MiB"))?;
        let aside = match &args.aside {
            Some(dir) => absolute(dir),
            None => aside::default_place(places.state(), &args.name, platform::sys::now_ns() / 1_000_000_000),
        };
        let manner = Manner { dry_run: args.dry_run, exact: args.exact, checksum: args.checksum, block_bytes };
        let plan = Self {
            places,
            from,
            trust,
            connect_timeout: args.connect_timeout,
            name,
            paths: paths(args)?,
            to: absolute(&args.to),
            aside,
            manner,
            json: args.json,
        };
        plan.check_places()?;
        Ok(plan)
    }

    /// Places that would contain each other.
    fn check_places(&self) -> Result<(), Failure> {
        let refuse = |inner: &PathBuf, outer: &PathBuf, why: &str| {
            Err(Failure::usage(format!("{} and {}: {why}", inner.display(), outer.display())))
        };
        // Written to behind a mount, nothing of it would be replicated.
        let behind =
            |mount: &Mount| mount.is_replfs() && mount.at != mount.source && is_inside(&self.to, &mount.source);
        if let Some(mount) = mounts::all().into_iter().find(behind)
            && !is_inside(&self.to, &mount.at)
        {
            let why = format!("DIR lies in a source that is mounted; restore into its mount {}", mount.at.display());
            return refuse(&self.to, &mount.source, &why);
        }
        if is_inside(&self.to, &self.aside) {
            return refuse(&self.to, &self.aside, "DIR lies where things are set aside; give another --aside DIR");
        }
        // What only DIR has would be moved into itself.
        if self.manner.exact && is_inside(&self.aside, &self.to) {
            return refuse(
                &self.aside,
                &self.to,
                "the place for what is set aside lies in DIR; give --aside elsewhere",
            );
        }
        if let TargetPlace::Local(root) = &self.from {
            if is_inside(&self.to, root) {
                return refuse(&self.to, root, "DIR lies inside the target's ROOT; choose one outside of it");
            }
            if self.manner.exact && is_inside(root, &self.to) {
                return refuse(root, &self.to, "the target's ROOT lies in DIR, where --exact would set it aside");
            }
        }
        if self.manner.exact && is_inside(self.places.state(), &self.to) {
            let why = "the state directory lies in DIR, where --exact would set it aside";
            return refuse(&self.places.state().to_owned(), &self.to, why);
        }
        Ok(())
    }
}

/// The PATHs, as paths within the replica. `.` is all of it; what lies below another one is left out.
fn paths(args: &RestoreArgs) -> Result<Vec<RelPath>, Failure> {
    if args.paths.is_empty() {
        return Ok(vec![RelPath::root()]);
    }
    let mut all = args.paths.iter().map(|path| parse(path)).collect::<Result<Vec<_>, _>>()?;
    all.sort();
    let below = |path: &RelPath, above: &RelPath| {
        above.is_root()
            || path.as_bytes().strip_prefix(above.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    let mut kept: Vec<RelPath> =
        all.iter().filter(|path| !all.iter().any(|above| above != *path && below(path, above))).cloned().collect();
    kept.dedup();
    Ok(kept)
}

fn parse(text: &OsStr) -> Result<RelPath, Failure> {
    let parts: Vec<&[u8]> =
        text.as_bytes().split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let shown = text.to_string_lossy();
    if text.as_bytes().starts_with(b"/") {
        let why = "PATHs are those within the replica, without a '/' in front";
        return Err(Failure::usage(format!("path '{shown}': {why}")));
    }
    RelPath::new(&parts.join(&b'/'))
        .map_err(|e| Failure::usage(format!("path '{shown}': {e}; give a path within the replica")))
}
