//! Files and directories with what of them is durable, and what a crash may leave of them.
//!
//! A file's bytes are durable up to its last sync; a directory's names are durable as of its last sync. After a loss of
//! power any part of the rest may be there: bytes cut anywhere or turned to zeros, any subset of the changed names.
//! Nodes are numbered like inodes, so that a name can come back without its file and a file can have two names.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::Event;
use crate::random::Random;

pub(crate) type Inode = usize;
const ROOT: Inode = 0;
/// Bytes that a device writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Node {
    Directory(Directory),
    File(Content),
}

#[derive(Clone, Debug, Default)]
struct Directory {
    names: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    pending: Vec<Change>,
}

/// A change of a directory, which lasts as a whole or not at all.
#[derive(Clone, Debug)]
enum Change {
    Put(String, Inode),
    Take(String),
    Move { from: String, to: String, node: Inode },
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: usize,
    /// What was there before the file was cut, as long as that is not durable.
    uncut: Option<Vec<u8>>,
    /// A sync failed: the system calls the bytes clean that it dropped, and no later sync brings them to the device.
    poisoned: bool,
}

/// What a crash takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process dies: everything it told the system stays.
    Process,
    /// The power goes: only what was synced is sure.
    Power,
}

/// A file system.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::Directory(Directory::default())] }
    }
}

impl Directory {
    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }
}

fn apply(names: &mut BTreeMap<String, Inode>, change: &Change) {
    match change {
        Change::Put(name, node) => drop(names.insert(name.clone(), *node)),
        Change::Take(name) => drop(names.remove(name)),
        Change::Move { from, to, node } => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
    }
}

/// The directory that a path is in, and its name there.
fn split(path: &Path) -> (&Path, String) {
    let name = path.file_name().expect("only what is in the root has a name").to_str().expect("names are text");
    (path.parent().unwrap_or(Path::new("")), name.to_owned())
}

impl Tree {
    /// The node at a path.
    pub(crate) fn find(&self, path: &Path) -> Option<Inode> {
        path.components().try_fold(ROOT, |at, component| match (&self.nodes[at], component) {
            (Node::Directory(directory), Component::Normal(name)) => directory.names.get(name.to_str()?).copied(),
            _ => None,
        })
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, file: Inode) -> &[u8] {
        let Node::File(content) = &self.nodes[file] else { panic!("node {file} is a directory") };
        &content.bytes
    }

    /// Whether all bytes of a file are durable.
    pub(crate) fn is_synced(&self, file: Inode) -> bool {
        matches!(&self.nodes[file], Node::File(content) if content.is_durable())
    }

    /// Whether a loss of power would take nothing.
    pub(crate) fn is_settled(&self) -> bool {
        self.nodes.iter().all(|node| match node {
            Node::Directory(directory) => directory.pending.is_empty(),
            Node::File(content) => content.is_durable(),
        })
    }

    pub(crate) fn is_directory(&self, node: Inode) -> bool {
        matches!(self.nodes[node], Node::Directory(_))
    }

    /// Whether something in a directory took another name, and that is not durable yet.
    pub(crate) fn has_moves(&self, directory: &Path) -> bool {
        let is_move = |change: &Change| matches!(change, Change::Move { .. });
        let node = self.find(directory).map(|node| &self.nodes[node]);
        node.is_some_and(|node| matches!(node, Node::Directory(d) if d.pending.iter().any(is_move)))
    }

    /// The names in a directory, and the length of what are files.
    pub(crate) fn list(&self, directory: &Path) -> Vec<(String, Option<u64>)> {
        let Some(Node::Directory(directory)) = self.find(directory).map(|node| &self.nodes[node]) else {
            return Vec::new();
        };
        let len = |node: Inode| match &self.nodes[node] {
            Node::File(content) => Some(content.bytes.len() as u64),
            Node::Directory(_) => None,
        };
        directory.names.iter().map(|(name, &node)| (name.clone(), len(node))).collect()
    }

    /// The number of the next node that is made.
    pub(crate) fn next_node(&self) -> Inode {
        self.nodes.len()
    }

    /// Does again what was done.
    pub(crate) fn replay(&mut self, event: &Event) {
        match event {
            Event::MakeDirectory(path) => {
                let node = self.add(Node::Directory(Directory::default()));
                self.name(path, node);
            }
            Event::Create(path, file) => {
                if *file == self.nodes.len() {
                    self.add(Node::File(Content::default()));
                    self.name(path, *file);
                } else {
                    *self.content(*file) = Content::default();
                }
            }
            Event::Append(file, bytes) => self.content(*file).bytes.extend_from_slice(bytes),
            Event::Cut(file, len) => {
                let content = self.content(*file);
                content.uncut.get_or_insert_with(|| content.bytes.clone());
                content.bytes.truncate(*len as usize);
                content.durable = content.durable.min(content.bytes.len());
            }
            Event::Sync(file) => {
                let content = self.content(*file);
                if !content.poisoned {
                    content.durable = content.bytes.len();
                    content.uncut = None;
                }
            }
            Event::FailedSync(file) => self.content(*file).poisoned = true,
            Event::Rename(from, to) => {
                let node = self.find(from).expect("what is renamed is there");
                let ((directory, from), (other, to)) = (split(from), split(to));
                assert_eq!(directory, other, "renamed within its directory");
                self.directory(directory).change(Change::Move { from, to, node });
            }
            Event::Link(file, second) => {
                let node = self.find(file).expect("what is linked is there");
                self.name(second, node);
            }
            Event::Remove(path) => self.take(path),
            Event::RemoveDirectory(path) => {
                let below: Vec<_> = self.list(path).into_iter().collect();
                for (name, len) in below {
                    let inner = path.join(name);
                    self.replay(&if len.is_some() { Event::Remove(inner) } else { Event::RemoveDirectory(inner) });
                }
                self.take(path);
            }
            Event::SyncDirectory(path) => {
                let node = self.find(path).expect("what is synced is there");
                let Node::Directory(directory) = &mut self.nodes[node] else { panic!("{} is a file", path.display()) };
                directory.durable = directory.names.clone();
                directory.pending.clear();
            }
            Event::Note(_) => (),
        }
    }

    /// What may be there after a crash now.
    pub(crate) fn after(&self, crash: Crash, random: &mut Random) -> Self {
        if crash == Crash::Process { self.clone() } else { self.copied(ROOT, crash, random) }
    }

    /// What is below a directory, as a file system of its own.
    pub(crate) fn below(&self, directory: &Path) -> Option<Self> {
        Some(self.copied(self.find(directory)?, Crash::Process, &mut Random::new(0)))
    }

    fn copied(&self, root: Inode, crash: Crash, random: &mut Random) -> Self {
        let mut copy = Self { nodes: Vec::new() };
        let mut numbers = BTreeMap::new();
        self.copy_node(root, crash, random, &mut copy, &mut numbers);
        copy
    }

    fn copy_node(
        &self,
        node: Inode,
        crash: Crash,
        random: &mut Random,
        into: &mut Self,
        numbers: &mut BTreeMap<Inode, Inode>,
    ) -> Inode {
        if let Some(&number) = numbers.get(&node) {
            return number;
        }
        let number = into.add(Node::File(Content::default()));
        numbers.insert(node, number);
        into.nodes[number] = match &self.nodes[node] {
            Node::File(content) => {
                let bytes = content.left_after(crash, random);
                Node::File(Content { durable: bytes.len(), bytes, ..Content::default() })
            }
            Node::Directory(directory) => {
                let left = directory.left_after(crash, random);
                let copied = left.into_iter().map(|(name, node)| {
                    let copied = self.copy_node(node, crash, random, into, numbers);
                    (name, copied)
                });
                let names: BTreeMap<_, _> = copied.collect();
                Node::Directory(Directory { durable: names.clone(), names, pending: Vec::new() })
            }
        };
        number
    }

    fn add(&mut self, node: Node) -> Inode {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn name(&mut self, path: &Path, node: Inode) {
        let (directory, name) = split(path);
        self.directory(directory).change(Change::Put(name, node));
    }

    fn take(&mut self, path: &Path) {
        let (directory, name) = split(path);
        self.directory(directory).change(Change::Take(name));
    }

    fn directory(&mut self, path: &Path) -> &mut Directory {
        let node = self.find(path).unwrap_or_else(|| panic!("there is no directory {}", path.display()));
        let Node::Directory(directory) = &mut self.nodes[node] else { panic!("{} is a file", path.display()) };
        directory
    }

    fn content(&mut self, file: Inode) -> &mut Content {
        let Node::File(content) = &mut self.nodes[file] else { panic!("node {file} is a directory") };
        content
    }
}

impl Directory {
    fn left_after(&self, crash: Crash, random: &mut Random) -> BTreeMap<String, Inode> {
        if crash == Crash::Process {
            return self.names.clone();
        }
        let mut left = self.durable.clone();
        // All of the changes, none, or any.
        let lasts = [1, 2, usize::MAX][random.below(3)];
        for change in &self.pending {
            if lasts == 1 || lasts == 2 && random.one_in(2) {
                apply(&mut left, change);
            }
        }
        left
    }
}

impl Content {
    fn is_durable(&self) -> bool {
        self.durable == self.bytes.len() && self.uncut.is_none()
    }

    fn left_after(&self, crash: Crash, random: &mut Random) -> Vec<u8> {
        if crash == Crash::Process || self.is_durable() {
            return self.bytes.clone();
        }
        // A cut may be lost, with all that was appended behind it.
        let bytes = self.uncut.as_ref().filter(|_| random.one_in(2)).unwrap_or(&self.bytes);
        let cut = match random.below(3) {
            0 => self.durable,
            1 => bytes.len(),
            _ => self.durable + random.below(bytes.len() - self.durable + 1),
        };
        let mut left = bytes[..cut].to_vec();
        match random.below(4) {
            0 if cut > self.durable => {
                // One piece that never arrived, before others that did.
                let from = self.durable + random.below(cut - self.durable);
                let to = (from + 1 + random.below(SECTOR)).min(cut);
                left[from..to].fill(0);
            }
            1 => {
                // Sectors arrive in any order, each whole or not at all.
                for sector in self.durable / SECTOR..cut.div_ceil(SECTOR) {
                    if random.one_in(2) {
                        let from = (sector * SECTOR).max(self.durable);
                        left[from..((sector + 1) * SECTOR).min(cut)].fill(0);
                    }
                }
            }
            _ => (),
        }
        left
    }
}
