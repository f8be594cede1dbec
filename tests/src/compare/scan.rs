//! Reads a tree into memory: every node with what `lstat` and the xattr calls say of it. Content is not read here.

use anyhow::{Context, Result};
use rustix::fs::FileType;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device and inode.
type Id = (u64, u64);

/// What is compared of a node beside its content.
#[derive(Debug)]
pub struct Node {
    pub id: Id,
    pub kind: FileType,
    /// The lowest twelve bits; zero for symbolic links, which have none that anybody can set.
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    /// Of regular files; zero for others, whose size is the file system's business.
    pub size: u64,
    /// Of devices.
    pub device: Option<u64>,
    /// Of symbolic links.
    pub link: Option<Vec<u8>>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes on disk.
    pub allocated: u64,
}

impl Node {
    fn read(path: &Path) -> Result<Self> {
        let stat = path.symlink_metadata()?;
        let kind = FileType::from_raw_mode(stat.mode());
        let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice).then(|| stat.rdev());
        let link = (kind == FileType::Symlink).then(|| std::fs::read_link(path)).transpose()?;
        Ok(Self {
            id: (stat.dev(), stat.ino()),
            kind,
            mode: if link.is_some() { 0 } else { stat.mode() & 0o7777 },
            owner: (stat.uid(), stat.gid()),
            mtime: (stat.mtime(), stat.mtime_nsec()),
            size: if stat.is_file() { stat.size() } else { 0 },
            device,
            link: link.map(|l| l.as_os_str().as_bytes().to_vec()),
            xattrs: xattrs(path)?,
            allocated: stat.blocks() * 512,
        })
    }

    pub fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    pub fn kind_name(&self) -> String {
        format!("{:?}", self.kind)
    }
}

/// A tree by relative path.
pub struct Tree {
    pub nodes: BTreeMap<Vec<u8>, Node>,
    names: BTreeMap<Id, BTreeSet<Vec<u8>>>,
}

impl Tree {
    pub fn scan(root: &Path) -> Result<Self> {
        let mut tree = Self { nodes: BTreeMap::new(), names: BTreeMap::new() };
        let mut waiting = vec![Vec::new()];
        while let Some(path) = waiting.pop() {
            let full = below(root, &path);
            let node = Node::read(&full).with_context(|| format!("cannot examine {}", full.display()))?;
            if node.kind == FileType::Directory {
                let names = std::fs::read_dir(&full).with_context(|| format!("cannot list {}", full.display()))?;
                for entry in names {
                    waiting.push(join(&path, &entry?.file_name()));
                }
            }
            tree.names.entry(node.id).or_default().insert(path.clone());
            tree.nodes.insert(path, node);
        }
        Ok(tree)
    }

    /// All names of a node within this tree; directories have one, whatever their link count.
    pub fn names_of(&self, node: &Node) -> Vec<String> {
        self.names.get(&node.id).into_iter().flatten().map(|n| n.escape_ascii().to_string()).collect()
    }
}

fn join(dir: &[u8], name: &OsStr) -> Vec<u8> {
    let mut path = dir.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.as_bytes());
    path
}

/// `path` below `root`; the empty path is `root` itself.
pub fn below(root: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { root.to_path_buf() } else { root.join(OsStr::from_bytes(path)) }
}

fn xattrs(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut list = vec![0; 64 << 10];
    let len = match rustix::fs::llistxattr(path, &mut list) {
        Ok(len) => len,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).context("list of extended attributes"),
    };
    let mut out = BTreeMap::new();
    let mut value = vec![0; 64 << 10];
    // XFS shows ACLs to root twice.
    let again = |name: &[u8]| name.starts_with(b"trusted.SGI_ACL_");
    for name in list[..len].split(|b| *b == 0).filter(|n| !n.is_empty() && !again(n)) {
        match rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value) {
            Ok(len) => out.insert(name.to_vec(), value[..len].to_vec()),
            // Removed since it was listed.
            Err(rustix::io::Errno::NODATA) => continue,
            Err(error) => return Err(error).context(format!("extended attribute {}", name.escape_ascii())),
        };
    }
    Ok(out)
}
