//! `-o` of mount(8): flags of the mount, what is for others and passed over, and replfs's own long options. What the own
//! ones are is not here: they come from the command line's definition.

use crate::exit::Failure;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Flags of the mount itself. `dev` and `suid` are the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // five flags of mount(2), each its own
pub struct MountFlags {
    /// Nothing can be changed through the mount.
    pub read_only: bool,
    /// Setuid and setgid bits have no effect.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Programs cannot be started.
    pub noexec: bool,
    /// Reading does not set access times.
    pub noatime: bool,
}

impl MountFlags {
    /// Takes an option if it is a flag, or one that means nothing here. `user` and its relatives restrict as mount(8)
    /// says, unless a later option takes it back.
    fn take(&mut self, option: &str) -> bool {
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "suid" => self.nosuid = false,
            "nosuid" => self.nosuid = true,
            "dev" => self.nodev = false,
            "nodev" => self.nodev = true,
            "exec" => self.noexec = false,
            "noexec" => self.noexec = true,
            "noatime" => self.noatime = true,
            "atime" | "relatime" | "strictatime" => self.noatime = false,
            "user" | "users" => (self.nosuid, self.nodev, self.noexec) = (true, true, true),
            "owner" | "group" => (self.nosuid, self.nodev) = (true, true),
            "defaults" => {
                (self.read_only, self.nosuid, self.nodev, self.noexec) = (false, false, false, false);
            }
            "norelatime" | "nostrictatime" | "diratime" | "nodiratime" | "lazytime" | "nolazytime" | "async"
            | "silent" | "loud" | "nomand" | "noiversion" | "nouser" | "nousers" | "noowner" | "nogroup"
            | "_netdev" | "nofail" | "auto" | "noauto" | "_rnetdev" => {}
            _ => return false,
        }
        true
    }
}

/// What a list of `-o` options says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The mount's flags.
    pub flags: MountFlags,
    /// replfs's own options, as long options of the command line.
    pub own: Vec<OsString>,
    /// Options that are unknown and passed over because of `-s`.
    pub unknown: Vec<String>,
}

/// Reads `-o` lists, the last word counting. `is_own` tells the names of replfs's own options; an option that nobody knows
/// is refused, or with `sloppy` noted.
pub fn parse<'a>(
    lists: impl IntoIterator<Item = &'a OsString>,
    is_own: impl Fn(&str) -> bool,
    sloppy: bool,
) -> Result<Options, Failure> {
    let mut options = Options::default();
    for list in lists {
        for option in split(list)? {
            let text = option.to_string_lossy();
            let key = text.split('=').next().unwrap_or_default();
            if options.flags.take(&text) || is_for_others(&text, key) {
                continue;
            }
            if is_own(key) {
                let mut word = OsString::from("--");
                word.push(&option);
                options.own.push(word);
            } else if key == "remount" {
                return Err(Failure::usage("mount option 'remount' does not exist yet; unmount and mount again"));
            } else if sloppy {
                options.unknown.push(key.to_owned());
            } else {
                return Err(Failure::usage(format!(
                    "unknown mount option '{key}'; 'replfs mount --help' lists those that exist"
                )));
            }
        }
    }
    Ok(options)
}

fn is_for_others(option: &str, key: &str) -> bool {
    option.is_empty()
        || key.starts_with("x-")
        || key.starts_with("X-")
        || (option != key && matches!(key, "comment" | "user" | "uhelper" | "helper"))
}

/// The options of a list. A comma between double quotes belongs to the value; the quotes themselves do not.
fn split(list: &OsStr) -> Result<Vec<OsString>, Failure> {
    let mut out = vec![Vec::new()];
    let mut quoted = false;
    for byte in list.as_bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => out.push(Vec::new()),
            _ => {
                if let Some(last) = out.last_mut() {
                    last.push(*byte);
                }
            }
        }
    }
    if quoted {
        return Err(Failure::usage(format!(
            "mount options '{}': a double quote is not closed",
            list.to_string_lossy()
        )));
    }
    Ok(out.into_iter().map(OsString::from_vec).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::exit::Code;

    fn read(list: &str) -> Result<Options, Failure> {
        parse(&[OsString::from(list)], |key| ["target", "adopt", "backlog"].contains(&key), false)
    }

    #[test]
    fn dev_and_suid_are_on_by_default() {
        assert_eq!(read("").unwrap(), Options::default());
        assert_eq!(read("defaults").unwrap().flags, MountFlags::default());
    }

    #[test]
    fn the_last_flag_counts() {
        let flags = read("ro,nosuid,nodev,noexec,noatime").unwrap().flags;
        assert_eq!(flags, MountFlags { read_only: true, nosuid: true, nodev: true, noexec: true, noatime: true });
        assert_eq!(
            read("ro,rw,nosuid,suid,nodev,dev,noexec,exec,noatime,relatime").unwrap().flags,
            MountFlags::default()
        );
    }

    #[test]
    fn user_restricts_until_taken_back() {
        let flags = read("user,exec").unwrap().flags;
        assert_eq!((flags.nosuid, flags.nodev, flags.noexec), (true, true, false));
    }

    #[test]
    fn what_is_for_others_is_passed_over() {
        let options =
            read("_netdev,nofail,auto,noauto,users,nouser,x-systemd.requires=a b,X-mount.mkdir,comment=x,user=bob")
                .unwrap();
        assert!(options.own.is_empty());
    }

    #[test]
    fn own_options_become_long_options() {
        let own = read("target=host:1,adopt,backlog=1MiB,ro").unwrap().own;
        assert_eq!(own, ["--target=host:1", "--adopt", "--backlog=1MiB"]);
    }

    #[test]
    fn a_comma_between_quotes_belongs_to_the_value() {
        let own = read("target=\"/a,b/\",adopt").unwrap().own;
        assert_eq!(own, ["--target=/a,b/", "--adopt"]);
        assert!(read("target=\"/a,b").unwrap_err().message.contains("quote"));
    }

    #[test]
    fn values_need_not_be_utf8() {
        let list = OsString::from_vec(b"target=/a\xff/".to_vec());
        let own = parse(&[list], |key| key == "target", false).unwrap().own;
        assert_eq!(own[0].as_bytes(), b"--target=/a\xff/");
    }

    #[test]
    fn an_unknown_option_is_refused_by_name_unless_sloppy() {
        let failure = read("ro,frobnicate=3").unwrap_err();
        assert_eq!(failure.code, Code::Usage);
        assert!(failure.message.contains("'frobnicate'"), "{failure}");
        let options = parse(&[OsString::from("frobnicate=3,ro")], |_| false, true).unwrap();
        assert_eq!(options.unknown, ["frobnicate"]);
        assert!(options.flags.read_only);
    }

    #[test]
    fn remount_is_refused_and_says_what_to_do() {
        assert!(read("remount,ro").unwrap_err().message.contains("unmount"));
    }
}
