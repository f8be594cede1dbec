//! Landlock: below which directories this process may open, make, move and remove what; everything else is refused by the
//! kernel, whatever the process is.

use super::Plan;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use std::path::Path;

/// The newest version whose rights were tried here. Later ones are in force with these rights.
const TRIED: ABI = ABI::V6;

/// The oldest version that will do: before it, nothing may move from one directory to another.
const OLDEST: u32 = 2;

/// Puts it in force for this thread and those it starts; the version of the kernel's interface.
pub(super) fn restrict(plan: &Plan<'_>) -> Result<u32, String> {
    let version = version();
    if version < OLDEST {
        return Err(match version {
            0 => "this kernel does not have it, or it is not switched on".to_owned(),
            _ => format!("version {version} of this kernel lets nothing move between directories; {OLDEST} is needed"),
        });
    }
    let status = build(plan)
        .and_then(RulesetCreated::restrict_self)
        .map_err(|e| e.to_string())
        .map_err(|e| format!("the kernel refuses it: {e}"))?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Err("it is not in force".to_owned()),
        (_, LandlockStatus::Available { effective_abi, kernel_abi }) => {
            Ok(kernel_abi.and_then(|abi| u32::try_from(abi).ok()).unwrap_or(effective_abi as u32))
        }
        _ => Err("it is not in force".to_owned()),
    }
}

fn build(plan: &Plan<'_>) -> Result<RulesetCreated, landlock::RulesetError> {
    let all = AccessFs::from_all(TRIED);
    // Nothing is run, and no device is spoken to.
    let tree = all & !(AccessFs::Execute | AccessFs::IoctlDev);
    let place = tree & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeFifo | AccessFs::MakeSym);
    let mut rules = Ruleset::default()
        .handle_access(all)?
        // No rule gives any: there is no TCP.
        .handle_access(AccessNet::from_all(TRIED))?
        .scope(Scope::from_all(TRIED))?
        .create()?;
    for path in plan.trees {
        rules = add(rules, path, tree)?;
    }
    for path in plan.places {
        rules = add(rules, path, place)?;
    }
    Ok(rules)
}

fn add(
    rules: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    match PathFd::new(path) {
        Ok(fd) => rules.add_rule(PathBeneath::new(fd, rights)),
        // What is not there cannot be reached, and what needs it says so.
        Err(_) => Ok(rules),
    }
}

/// The version of the kernel's interface; zero for none.
fn version() -> u32 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call takes no pointer and only answers a number.
    let answer =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION) };
    u32::try_from(answer).unwrap_or(0)
}
