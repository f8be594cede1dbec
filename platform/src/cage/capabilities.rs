//! Capabilities: all go but those that a replica's attributes need, from every set and for good.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
};
use std::io;

/// What is kept, with its name. `platform/tests/cage.rs` shows for each what fails without it.
pub const KEPT: &[(CapabilitySet, &str)] = &[
    // Owners.
    (CapabilitySet::CHOWN, "chown"),
    // Directories and files that their owners closed to themselves.
    (CapabilitySet::DAC_OVERRIDE, "dac_override"),
    // Permissions, times and attributes of what belongs to others; reading without a trace in the access time.
    (CapabilitySet::FOWNER, "fowner"),
    // Setgid of groups that root is no member of; setuid and setgid stay when content changes.
    (CapabilitySet::FSETID, "fsetid"),
    // Device nodes.
    (CapabilitySet::MKNOD, "mknod"),
    // `security.capability`.
    (CapabilitySet::SETFCAP, "setfcap"),
    // `trusted.*` and `security.*`. What else it allows is not on the list of system calls.
    (CapabilitySet::SYS_ADMIN, "sys_admin"),
];

/// The numbers of capabilities that a kernel may know.
const NUMBERS: std::ops::Range<u32> = 0..64;

/// `false`: the bounding set and the bits that lock it stayed, because this process may not change them. It has no more
/// capabilities than the kept ones all the same.
pub(super) fn drop_all_but_kept() -> io::Result<bool> {
    let kept = KEPT.iter().fold(CapabilitySet::empty(), |all, (one, _)| all | *one);
    match clear_ambient_capability_set() {
        // A kernel that has none.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(e) => return Err(e.into()),
    }
    let held = capabilities(None)?;
    let bounded = held.effective.contains(CapabilitySet::SETPCAP) && bound(kept)?;
    let some = held.permitted & kept;
    set_capabilities(None, CapabilitySets { effective: some, permitted: some, inheritable: CapabilitySet::empty() })?;
    // Who has none at all gets none by running a program either: no new privileges.
    Ok(bounded || some.is_empty())
}

/// Takes all others from what programs could get.
fn bound(kept: CapabilitySet) -> io::Result<bool> {
    for number in NUMBERS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !kept.contains(one) => remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            // The last one was before this.
            Err(Errno::INVAL) => break,
            Err(e) => return Err(e.into()),
        }
    }
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    match set_capabilities_secure_bits(bits) {
        Ok(()) => Ok(true),
        // Somebody has locked other ones.
        Err(Errno::PERM) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// The names of those that this process has.
pub(super) fn held() -> io::Result<Vec<String>> {
    let held = capabilities(None)?.permitted;
    Ok(KEPT.iter().filter(|(one, _)| held.contains(*one)).map(|(_, name)| (*name).to_owned()).collect())
}
