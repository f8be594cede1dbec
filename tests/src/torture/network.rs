//! A network of two machines: the target's processes run in a network namespace of their own, at the other end of a pair of interfaces, whose bandwidth tc-tbf(8)
//! bounds. The kernels that this is run on have no netem; what loses and delays is the link in user space, before it.

use crate::command::run;
use crate::disk::admin;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// The namespace. Dropping it removes it, and the interfaces with it.
#[derive(Debug)]
pub struct Network {
    name: String,
    /// This side's interface, and the other's.
    interfaces: [String; 2],
    address: String,
}

/// What names of namespaces begin with; the number of the process that made one follows.
const PREFIX: &str = "replfs-torture-";

#[track_caller]
fn ip(words: &[&str]) {
    run(admin("ip").args(words)).ok();
}

impl Network {
    /// A new one.
    #[track_caller]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let (process, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let name = format!("{PREFIX}{process}-{n}");
        // Fifteen characters at most.
        let interfaces = ["a", "b"].map(|end| format!("rt{:x}{end}{:x}", process % 0x00ff_ffff, n % 256));
        let net = process.wrapping_mul(31).wrapping_add(n);
        let address = |host: u32| format!("10.{}.{}.{host}", 100 + net / 256 % 100, net % 256);
        let network = Self { name, interfaces, address: address(2) };
        let [here, there] = [&network.interfaces[0], &network.interfaces[1]].map(String::as_str);
        let inside = ["-n", network.name.as_str()];
        ip(&["netns", "add", &network.name]);
        ip(&["link", "add", here, "type", "veth", "peer", "name", there, "netns", &network.name]);
        ip(&["addr", "add", &format!("{}/24", address(1)), "dev", here]);
        ip(&["link", "set", here, "up"]);
        ip(&[&inside[..], &["addr", "add", &format!("{}/24", address(2)), "dev", there]].concat());
        ip(&[&inside[..], &["link", "set", there, "up"]].concat());
        network
    }

    /// How a target is started in it, and where it listens.
    pub fn target_by(&self) -> (Vec<String>, String) {
        let by = ["nsenter", &format!("--net=/run/netns/{}", self.name)].map(str::to_owned);
        (by.into(), format!("{}:0", self.address))
    }

    /// So many bits pass in a second; `None`: as many as there are.
    #[track_caller]
    pub fn bound(&self, mbit: Option<u32>) {
        let inside = ["netns", "exec", self.name.as_str(), "tc"];
        for (before, interface) in [(&[][..], &self.interfaces[0]), (&inside[..], &self.interfaces[1])] {
            let mut tc = admin(if before.is_empty() { "tc" } else { "ip" });
            tc.args(before).args(["qdisc", if mbit.is_some() { "replace" } else { "del" }, "dev", interface, "root"]);
            if let Some(mbit) = mbit {
                tc.args(["tbf", "rate", &format!("{mbit}mbit"), "burst", "32kb", "latency", "200ms"]);
            }
            run(&mut tc).ok();
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

fn remove(name: &str) {
    let outcome = run(admin("ip").args(["netns", "del", name]));
    if outcome.code != 0 {
        eprintln!("cannot remove the network namespace {name}: {}", outcome.stderr);
    }
}

/// Those of processes that are gone.
fn remove_leftovers() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove(&name);
        }
    }
}
