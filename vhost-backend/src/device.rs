//! What the device says of itself: virtio and vhost-user features, and the config space (virtio 1.2, 5.2.4).
//!
//! Pure: knows neither sockets nor disks.

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use virtio_bindings::{
    virtio_blk::{
        VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
        VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_TOPOLOGY,
        VIRTIO_BLK_F_WRITE_ZEROES,
    },
    virtio_config::VIRTIO_F_VERSION_1,
    virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC},
};

use crate::{
    limits::{DISCARD_SECTORS_MAX, RANGES_MAX, SEGMENTS_MAX, ZEROES_SECTORS_MAX},
    request::Abilities,
};

/// Bytes of the config space that front ends of today read: up to `write_zeroes_may_unmap` and its padding.
const CONFIG_LEN: usize = 60;

/// Where `writeback` (the write cache switch) lies in the config space.
const WRITEBACK: usize = 32;

/// Block size that the guest should prefer, bytes.
const PHYSICAL_BLOCK: u32 = 4096;

/// Request size that the guest should prefer, bytes: one I/O buffer.
const OPTIMAL_IO: u32 = crate::limits::BUFFER_LEN as u32;

/// A disk as the guest will see it.
#[derive(Debug, Clone)]
pub struct Device {
    can: Abilities,
    queues: u16,
}

impl Device {
    /// A device of `queues` virtqueues.
    #[must_use]
    pub fn new(can: Abilities, queues: u16) -> Self {
        Self { can, queues }
    }

    /// Virtio feature bits on offer.
    #[must_use]
    pub fn features(&self) -> u64 {
        let mut bits = vec![
            VIRTIO_F_VERSION_1,
            VIRTIO_RING_F_EVENT_IDX,
            VIRTIO_RING_F_INDIRECT_DESC,
            VIRTIO_BLK_F_SEG_MAX,
            VIRTIO_BLK_F_BLK_SIZE,
            VIRTIO_BLK_F_TOPOLOGY,
            VIRTIO_BLK_F_FLUSH,
            VIRTIO_BLK_F_CONFIG_WCE,
            VIRTIO_BLK_F_MQ,
        ];
        if self.can.read_only {
            bits.push(VIRTIO_BLK_F_RO);
        } else {
            bits.push(VIRTIO_BLK_F_WRITE_ZEROES);
        }
        if self.can.punch {
            bits.push(VIRTIO_BLK_F_DISCARD);
        }
        let virtio = bits.into_iter().fold(0, |all, bit| all | 1 << bit);
        virtio
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
            | VhostUserVirtioFeatures::LOG_ALL.bits()
    }

    /// Vhost-user protocol features on offer.
    #[must_use]
    pub fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::LOG_SHMFD
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::DEVICE_STATE
    }

    /// The disk has so many bytes now.
    pub fn grow(&mut self, capacity: u64) {
        self.can.capacity = capacity;
    }

    /// Whether the front end wants to know what is written to guest memory.
    #[must_use]
    pub fn logs(accepted: u64) -> bool {
        accepted & VhostUserVirtioFeatures::LOG_ALL.bits() != 0
    }

    /// Whether writes must be durable before they are answered, given what the guest accepted and its cache switch
    /// (virtio 1.2, 5.2.6.2: without FLUSH the cache is write-through; without CONFIG_WCE it is write-back).
    #[must_use]
    pub fn write_through(accepted: u64, writeback: bool) -> bool {
        let has = |bit: u32| accepted & (1 << bit) != 0;
        !has(VIRTIO_BLK_F_FLUSH) || (has(VIRTIO_BLK_F_CONFIG_WCE) && !writeback)
    }

    /// Whether the guest accepted event indices.
    #[must_use]
    pub fn event_idx(accepted: u64) -> bool {
        accepted & (1 << VIRTIO_RING_F_EVENT_IDX) != 0
    }

    /// `size` bytes of the config space from `offset`, zeros behind its end: exactly what was asked for, as QEMU
    /// asks for a prefix and Cloud Hypervisor for all of it.
    #[must_use]
    pub fn config(&self, offset: u32, size: u32, writeback: bool) -> Vec<u8> {
        let space = self.config_space(writeback);
        let start = offset as usize;
        (start..start + size as usize).map(|at| space.get(at).copied().unwrap_or(0)).collect()
    }

    /// What a write to the config space sets the cache switch to; `None` if it writes anything else.
    #[must_use]
    pub fn written_writeback(offset: u32, bytes: &[u8]) -> Option<bool> {
        match (offset as usize, bytes) {
            (WRITEBACK, [0]) => Some(false),
            (WRITEBACK, [1]) => Some(true),
            _ => None,
        }
    }

    fn config_space(&self, writeback: bool) -> [u8; CONFIG_LEN] {
        let block = self.can.block_size;
        let physical_exponent = (PHYSICAL_BLOCK / block).trailing_zeros() as u8;
        let discard = if self.can.punch { (DISCARD_SECTORS_MAX, RANGES_MAX) } else { (0, 0) };
        let zeroes = if self.can.read_only { (0, 0) } else { (ZEROES_SECTORS_MAX, RANGES_MAX) };
        let mut space = [0; CONFIG_LEN];
        let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &(self.can.capacity / 512).to_le_bytes());
        put(12, &SEGMENTS_MAX.to_le_bytes());
        put(20, &block.to_le_bytes());
        put(24, &[physical_exponent, 0]);
        put(26, &((PHYSICAL_BLOCK / block) as u16).to_le_bytes());
        put(28, &(OPTIMAL_IO / block).to_le_bytes());
        put(WRITEBACK, &[u8::from(writeback)]);
        put(34, &self.queues.to_le_bytes());
        put(36, &discard.0.to_le_bytes());
        put(40, &discard.1.to_le_bytes());
        put(44, &(PHYSICAL_BLOCK / 512).to_le_bytes());
        put(48, &zeroes.0.to_le_bytes());
        put(52, &zeroes.1.to_le_bytes());
        put(56, &[u8::from(self.can.punch)]);
        space
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(block_size: u32, read_only: bool) -> Device {
        let can = Abilities { capacity: 10 << 30, block_size, read_only, punch: !read_only };
        Device::new(can, 4)
    }

    #[test]
    fn the_config_space_is_laid_out_as_the_standard_says() {
        // Offsets and values from virtio 1.2, struct virtio_blk_config.
        let space = device(512, false).config(0, 60, true);
        assert_eq!(space[0..8], 20_971_520u64.to_le_bytes());
        assert_eq!(space[12..16], 126u32.to_le_bytes());
        assert_eq!(space[20..24], 512u32.to_le_bytes());
        assert_eq!(space[24..28], [3, 0, 8, 0]);
        assert_eq!(space[28..32], 256u32.to_le_bytes());
        assert_eq!(space[32..36], [1, 0, 4, 0]);
        assert_eq!(space[36..40], 2_097_152u32.to_le_bytes());
        assert_eq!(space[44..48], 8u32.to_le_bytes());
        assert_eq!(space[56..60], [1, 0, 0, 0]);
    }

    #[test]
    fn a_4096_disk_has_no_larger_physical_block() {
        let space = device(4096, false).config(0, 60, true);
        assert_eq!(space[24..28], [0, 0, 1, 0]);
        assert_eq!(space[28..32], 32u32.to_le_bytes());
    }

    #[test]
    fn as_many_bytes_come_as_were_asked_for() {
        let device = device(512, false);
        assert_eq!(device.config(0, 8, true).len(), 8);
        assert_eq!(device.config(32, 1, false), [0]);
        assert_eq!(device.config(56, 200, true).len(), 200);
    }

    #[test]
    fn a_read_only_disk_offers_nothing_that_writes() {
        let features = device(512, true).features();
        assert_eq!(features >> VIRTIO_BLK_F_RO & 1, 1);
        assert_eq!(features >> VIRTIO_BLK_F_DISCARD & 1, 0);
        assert_eq!(features >> VIRTIO_BLK_F_WRITE_ZEROES & 1, 0);
    }

    #[test]
    fn the_cache_is_write_through_unless_the_guest_can_flush_and_left_it_on() {
        let (flush, switch) = (1u64 << 9, 1u64 << 11);
        assert!(Device::write_through(0, true));
        assert!(!Device::write_through(flush, false));
        assert!(Device::write_through(flush | switch, false));
        assert!(!Device::write_through(flush | switch, true));
    }

    #[test]
    fn only_the_cache_switch_can_be_written() {
        assert_eq!(Device::written_writeback(32, &[0]), Some(false));
        assert_eq!(Device::written_writeback(32, &[2]), None);
        assert_eq!(Device::written_writeback(0, &[1]), None);
        assert_eq!(Device::written_writeback(32, &[1, 0]), None);
    }
}
