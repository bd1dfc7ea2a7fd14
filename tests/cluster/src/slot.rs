//! Keeps clusters on one machine out of each other's way: each claims a slot, and the slot decides its pod addresses and its ports.

use std::{
    fs::{self, File, TryLockError},
    net::TcpListener,
    ops::Range,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};

/// How many clusters fit: sixteen ranges of sixteen values fill the third byte of 10.244.a.b.
pub const SLOTS: u8 = 16;

/// Values of `a` in 10.244.a.b that a slot owns.
const POD_RANGE_LENGTH: u8 = 16;

/// Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes a port between choosing it and using it.
const FIRST_PORT: u16 = 21_000;

/// Ports that a slot owns; the control plane needs six.
const PORTS_PER_SLOT: u16 = 64;

/// A claimed slot; free again when dropped, or when the process ends however it ends.
#[derive(Debug)]
pub struct Slot {
    number: u8,
    next_port: u16,
    // The lock lives as long as the open file.
    _lock: File,
}

impl Slot {
    /// Claims the first free slot of this machine.
    ///
    /// # Errors
    /// When all are taken, or the folder of locks cannot be written.
    pub fn claim() -> Result<Self> {
        let folder = locks_folder()?;
        for number in 0..SLOTS {
            let path = folder.join(format!("slot-{number}.lock"));
            let file = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            // Another user of this machine must be able to take the slot later; only the file's owner can (and need) allow it.
            file.set_permissions(fs::Permissions::from_mode(0o666)).ok();
            match file.try_lock() {
                Ok(()) => {
                    return Ok(Self {
                        number,
                        next_port: Self::ports(number).start,
                        _lock: file,
                    });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
        bail!(
            "all {SLOTS} slots are taken: {SLOTS} test clusters run on this machine (locks in {})",
            folder.display()
        )
    }

    /// Which slot it is, from 0.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The values of `a` in pod addresses 10.244.a.b (and their twins 127.244.a.b) that belong to this slot. The last slot's end is
    /// exclusive and would be 256, so its last value, 255, is given up.
    #[must_use]
    pub fn pod_range(&self) -> Range<u8> {
        let start = self.number * POD_RANGE_LENGTH;
        start..start.saturating_add(POD_RANGE_LENGTH)
    }

    /// The next port of this slot that nobody listens on, on 127.0.0.1.
    ///
    /// # Errors
    /// When none is left.
    pub fn port(&mut self) -> Result<u16> {
        let ports = Self::ports(self.number);
        while self.next_port < ports.end {
            let port = self.next_port;
            self.next_port += 1;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
        bail!("no free port left in {}..{}", ports.start, ports.end)
    }

    fn ports(number: u8) -> Range<u16> {
        let start = FIRST_PORT + u16::from(number) * PORTS_PER_SLOT;
        start..start + PORTS_PER_SLOT
    }
}

fn locks_folder() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join("tidegate-cluster-slots");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // As for the files: other users share the folder, and only its owner can allow it.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).ok();
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_claims_get_separate_slots_addresses_and_ports() {
        let mut first = Slot::claim().unwrap();
        let mut second = Slot::claim().unwrap();
        assert_ne!(first.number(), second.number());
        assert!(!first.pod_range().any(|a| second.pod_range().contains(&a)));
        let ports: Vec<u16> = (0..6).map(|_| first.port().unwrap()).collect();
        assert!(!ports.contains(&second.port().unwrap()));
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let mut slot = Slot::claim().unwrap();
        let port = slot.port().unwrap();
        let _in_use = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
        assert_eq!(slot.port().unwrap(), port + 2);
    }

    #[test]
    fn the_last_slot_stays_within_a_byte() {
        let ports = Slot::ports(SLOTS - 1);
        assert!(ports.end < 32_768);
        assert_eq!((SLOTS - 1) * POD_RANGE_LENGTH, 240);
    }
}
