//! What requests do on a simulated machine: the fault that befalls one, and its effect on disk and network.

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use super::disk::Facts;
use super::network::Progress;
use super::world::{NETWORK_TIME, Object, Request, World};
use super::{Faults, InjectedFault as Injected};
use crate::address::Address;
use crate::backend::{Arrival, Errno, StandardStream, Value, codes, os};
use crate::fs::{Entry, FileKind, Metadata};
use crate::op::{Class, Entries, Op};

/// How far a misdirected write goes astray.
const SECTOR: u64 = 512;

/// The moment at which simulated time begins, for file times: the first of January 2020.
const EPOCH: Duration = Duration::from_secs(1_577_836_800);

impl World {
    /// Which fault befalls a request, by the script or by chance. Those that change only the request are done here.
    pub(super) fn inject(&mut self, request: &mut Request) -> Option<Injected> {
        let is_close = matches!(request.op, Op::Close);
        // A datagram is moved whole, and has no connection.
        let moves_bytes = request.op.parts().is_some() && !request.op.is_datagram();
        let is_network = matches!(request.class, Class::Socket | Class::Listener | Class::Datagram);
        let is_network = is_network && request.descriptor >= 0;
        if self.is_missing(&request.name) {
            return Some(Injected::Error(codes::ENOSYS));
        }
        let scripted = match &mut self.script {
            Some(script) => script(&request.name, self.operations),
            None => None,
        };
        let fault = scripted.or_else(|| {
            let Faults { disk_errors, resets, short_transfers, misdirected_writes, .. } = self.faults;
            let is_pipe = matches!(self.object(request.descriptor), Ok(Object::Pipe { .. }));
            let is_disk = !is_network && !is_pipe && !matches!(request.op, Op::Resolve { .. });
            let is_write = matches!(request.op, Op::Write { .. });
            let chances = [
                (is_disk && !is_close, disk_errors, Injected::Error(codes::EIO)),
                (is_network && moves_bytes, resets, Injected::Reset),
                (moves_bytes, short_transfers, Injected::Short),
                (is_write && is_disk, misdirected_writes, Injected::Misdirected),
            ];
            let drawn = chances.into_iter().find(|(applies, chance, _)| *applies && self.random.chance(*chance));
            drawn.map(|(_, _, fault)| fault)
        })?;
        match fault {
            // A close cannot fail in a way that matters to anybody else.
            Injected::Error(_) if is_close => return None,
            Injected::Reset if is_network => {
                if let Ok(id) = self.socket(request.descriptor) {
                    self.network.reset(id, self.now.get());
                }
            }
            Injected::Short if moves_bytes => {
                let length = request.length.max(request.input.len()).max(1);
                let kept = 1 + self.random.below(length as u64) as usize;
                request.length = request.length.min(kept);
                request.input.truncate(kept);
            }
            Injected::Misdirected => request.offset = request.offset.map(|offset| offset + SECTOR),
            _ => {}
        }
        Some(fault)
    }

    /// The cursor of a redirected stream goes on, if it was used.
    fn move_shared_cursor(&mut self, stream: StandardStream, offset: Option<u64>, count: u64) {
        if let (None, Some(file)) = (offset, &mut self.redirections[stream as usize]) {
            file.cursor += count;
        }
    }

    /// Whether the machine does not have an operation at all.
    fn is_missing(&self, name: &str) -> bool {
        let word = name.split(' ').next().unwrap_or(name);
        self.faults.missing_operations.iter().any(|missing| missing == word)
    }

    pub(super) fn effect(&mut self, request: &mut Request) -> Result<Progress<Value>, Errno> {
        let now = self.now.get();
        let raw = request.descriptor;
        let value = match &request.op {
            Op::Open { path, options } => {
                let inode = self.disk.open(path.to_bytes(), options, now)?;
                let descriptor = self.new_descriptor(Object::File { inode, options: *options });
                Value::Descriptor(descriptor.inspect_err(|_| self.disk.close(inode))?)
            }
            Op::Stat { path, follow } => metadata(self.disk.stat(path.to_bytes(), *follow)?),
            Op::Rename { from, to } => count(self.disk.rename(from.to_bytes(), to.to_bytes()))?,
            Op::Unlink { path } => count(self.disk.unlink(path.to_bytes()))?,
            Op::MakeDirectory { path, permissions } => {
                count(self.disk.make_directory(path.to_bytes(), *permissions, now))?
            }
            Op::RemoveDirectory { path } => count(self.disk.remove_directory(path.to_bytes()))?,
            Op::SyncDirectory { path } => count(self.disk.sync_directory(path.to_bytes()))?,
            Op::HardLink { from, to } => count(self.disk.hard_link(from.to_bytes(), to.to_bytes()))?,
            Op::SymbolicLink { content, path } => {
                count(self.disk.symbolic_link(content.to_bytes(), path.to_bytes(), now))?
            }
            Op::ReadLink { path } => Value::Path(os::os_str(&self.disk.read_link(path.to_bytes())?).into()),
            Op::OpenDirectory { path } => count(self.disk.entries(path.to_bytes()))?,
            Op::ReadDirectory { path, reader } => {
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                match reader.replace(Entries(Box::new(std::iter::empty()))) {
                    // All at once, the first time.
                    None => Value::Entries(self.disk.entries(path.to_bytes())?.into_iter().map(entry).collect()),
                    Some(_) => Value::Entries(Vec::new()),
                }
            }
            Op::Resolve { name, port } => match self.network.resolve(name) {
                Some(address) => Value::Addresses(vec![SocketAddr::new(address, *port)]),
                None => Value::Addresses(Vec::new()),
            },
            Op::Read { .. } => match self.object(raw)? {
                Object::File { options, .. } if !options.read => return Err(Errno::BADF),
                Object::File { inode, .. } => {
                    let offset = request.offset.unwrap_or(0);
                    request.output = self.disk.read(inode, offset, request.length)?;
                    Value::Count(request.output.len() as u64)
                }
                Object::Redirected(stream) => {
                    let offset = request.offset.unwrap_or(self.redirection(stream)?.cursor);
                    request.output = self.disk.read(self.file(raw)?, offset, request.length)?;
                    let count = request.output.len() as u64;
                    self.move_shared_cursor(stream, request.offset, count);
                    Value::Count(count)
                }
                Object::Pipe { id, is_reader: true } => match self.network.receive(id, request.length)? {
                    Progress::Done(bytes) => {
                        request.output = bytes;
                        Value::Count(request.output.len() as u64)
                    }
                    Progress::Waits => return Ok(Progress::Waits),
                },
                Object::Pipe { .. } => return Err(Errno::BADF),
                // Standard input is empty.
                Object::Standard(StandardStream::Input) => Value::Count(0),
                _ => return Err(Errno::INVAL),
            },
            Op::Write { .. } => match self.object(raw)? {
                Object::File { options, .. } if !options.write && !options.append => return Err(Errno::BADF),
                Object::File { inode, options } => {
                    let offset = request.offset.filter(|_| !options.append);
                    Value::Count(self.disk.write(inode, offset, &request.input, now)? as u64)
                }
                Object::Redirected(stream) => {
                    let offset = request.offset.unwrap_or(self.redirection(stream)?.cursor);
                    let count = self.disk.write(self.file(raw)?, Some(offset), &request.input, now)? as u64;
                    self.move_shared_cursor(stream, request.offset, count);
                    Value::Count(count)
                }
                Object::Standard(stream) => {
                    stream.print(&request.input).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                    Value::Count(request.input.len() as u64)
                }
                Object::Pipe { is_reader: true, .. } => return Err(Errno::BADF),
                Object::Pipe { id, .. } if !self.network.has_peer(id) => return Err(Errno::PIPE),
                Object::Pipe { id, .. } => {
                    let delay = self.within(NETWORK_TIME);
                    match self.network.send(id, &request.input, now, delay)? {
                        Progress::Done(count) => Value::Count(count as u64),
                        Progress::Waits => return Ok(Progress::Waits),
                    }
                }
                Object::Socket(_) => return Err(Errno::INVAL),
            },
            Op::Sync { .. } => count(self.disk.sync(self.file(raw)?))?,
            Op::Truncate { length } => count(self.disk.truncate(self.file(raw)?, *length, now))?,
            Op::Allocate { offset, length } => count(self.disk.allocate(self.file(raw)?, *offset, *length, now))?,
            Op::StatHandle => metadata(self.disk.facts(self.file(raw)?)?),
            Op::Connect { address } => {
                let delay = self.within(NETWORK_TIME);
                let id = self.socket(raw)?;
                return Ok(match self.network.connect(id, internet(address)?, now, delay)? {
                    Progress::Done(()) => Progress::Done(Value::Count(0)),
                    Progress::Waits => Progress::Waits,
                });
            }
            // The number first, as elsewhere: without one the connection stays where it is.
            Op::Accept if self.free_descriptor().is_err() => return Err(Errno::MFILE),
            Op::Accept => match self.network.accept(self.socket(raw)?)? {
                Progress::Done(id) => {
                    let descriptor = self.new_descriptor(Object::Socket(id));
                    Value::Descriptor(descriptor.inspect_err(|_| self.network.close(id, now, 0))?)
                }
                Progress::Waits => return Ok(Progress::Waits),
            },
            Op::Recv { .. } => match self.network.receive(self.socket(raw)?, request.length)? {
                Progress::Done(bytes) => {
                    request.output = bytes;
                    Value::Count(request.output.len() as u64)
                }
                Progress::Waits => return Ok(Progress::Waits),
            },
            Op::Send { .. } => {
                let delay = self.within(NETWORK_TIME);
                match self.network.send(self.socket(raw)?, &request.input, now, delay)? {
                    Progress::Done(count) => Value::Count(count as u64),
                    Progress::Waits => return Ok(Progress::Waits),
                }
            }
            Op::RecvFrom { .. } => match self.network.receive_datagram(self.socket(raw)?)? {
                Progress::Done((sender, mut bytes)) => {
                    let size = bytes.len();
                    bytes.truncate(request.length);
                    request.output = bytes;
                    let (count, size) = (request.output.len() as u32, Some(size as u32));
                    Value::Datagram(Arrival { count, size, sender: sender.into() })
                }
                Progress::Waits => return Ok(Progress::Waits),
            },
            Op::SendTo { address, .. } => {
                let (id, to) = (self.socket(raw)?, address.as_ref().map(internet).transpose()?);
                let arrival = now + self.within(NETWORK_TIME);
                let is_lost = self.random.chance(self.faults.datagram_losses);
                self.network.send_datagram(id, to, &request.input, arrival, is_lost)?;
                Value::Count(request.input.len() as u64)
            }
            Op::Shutdown { how } => {
                let delay = self.within(NETWORK_TIME);
                count(self.network.shut_down(self.socket(raw)?, *how, now, delay))?
            }
            Op::AwaitReady { writes } => match self.network.is_ready(self.socket(raw)?, *writes)? {
                true => Value::Count(0),
                false => return Ok(Progress::Waits),
            },
            // It runs no programs.
            Op::Start { .. } | Op::AwaitExit { .. } => return Err(Errno::NOSYS),
            Op::Close => {
                self.close(raw);
                Value::Count(0)
            }
            op @ (Op::Sleep | Op::Seek { .. } | Op::Barrier) => unreachable!("{op} needs no machine"),
        };
        Ok(Progress::Done(value))
    }
}

fn count<T>(result: Result<T, Errno>) -> Result<Value, Errno> {
    result.map(|_| Value::Count(0))
}

/// The only addresses that the machine's network knows.
pub(super) fn internet(address: &Address) -> Result<SocketAddr, Errno> {
    address.as_internet().ok_or(Errno::AFNOSUPPORT)
}

fn entry((name, kind): (Vec<u8>, FileKind)) -> Entry {
    Entry { name: os::os_str(&name).to_owned(), kind }
}

fn metadata(facts: Facts) -> Value {
    let Facts { inode, kind, size, permissions, links, modified } = facts;
    let modified = SystemTime::UNIX_EPOCH + EPOCH + Duration::from_nanos(modified);
    Value::Metadata(Box::new(Metadata {
        kind,
        size,
        permissions,
        modified,
        accessed: modified,
        created: None,
        links,
        inode: inode as u64,
        device: 1,
        user: 0,
        group: 0,
        allocated: size.next_multiple_of(512),
    }))
}
