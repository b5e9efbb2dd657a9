//! The keeper without its thread and without a daemon: what becomes of the disk when its VM leaves, and while the image
//! below does not answer.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Instant, SystemTime},
};

use images::{Access, Header, ImageFile, Storage};
use keyd_client::{
    ids::KeyVersion,
    message::{DiskKind, DiskRecord, EncryptionType, Geometry, Holes, VolumeKeyDigest},
};
use rustix::event::{EventfdFlags, eventfd};
use tempfile::NamedTempFile;

use super::*;
use crate::{
    config::Cache,
    mailbox::mailbox,
    queue::{command::Fenced, handle::Line},
};

const SIZE: u64 = 1 << 20;
const DATA_OFFSET: u64 = 16 << 20;

fn record() -> DiskRecord {
    let base64 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned();
    let holes = Holes::Zeros;
    DiskRecord {
        id: DiskId::random(),
        kind: DiskKind::Disk,
        source: None,
        platform_version: None,
        des: "platform".parse().unwrap(),
        key: "platform".parse().unwrap(),
        key_version: KeyVersion::random(),
        encryption: EncryptionType::PlatformKey,
        geometry: Geometry { sector_size: 512, data_offset: DATA_OFFSET, size: SIZE, holes },
        digest: VolumeKeyDigest { iterations: 1000, salt: base64.clone(), digest: base64 },
        generation: 1,
        confirmed: true,
        created: 0,
    }
}

/// A keeper that has a disk, of one queue.
struct Scene {
    keeper: Keeper,
    image: NamedTempFile,
    shared: Arc<Shared>,
    /// Whether the queue has nothing at the disk.
    disk_is_idle: Arc<AtomicBool>,
    /// What the queue was told.
    told: mpsc::Receiver<&'static str>,
    /// What was asked of an image that does not answer.
    surveys: Box<dyn Fn() -> Vec<u64>>,
    sizes: Mailbox<u64>,
}

impl Scene {
    fn new() -> Self {
        let image = NamedTempFile::new().unwrap();
        image.as_file().set_len(DATA_OFFSET + SIZE).unwrap();
        let record = record();
        let blank = ImageFile::open(image.path(), Access::ReadWrite).unwrap();
        Header::create(&record, blank.size().unwrap()).unwrap().write_new(&blank).unwrap();
        drop(blank);
        let backing = Arc::new(Backing::open(image.path(), false, Some(Cache::Direct), 1).unwrap());
        let source =
            Source { keyd: "/nowhere/keyd.sock".into(), disk: record.id, read_only: false };
        let disk_is_idle = Arc::new(AtomicBool::new(true));
        let (queue, told) = queue(disk_is_idle.clone());
        let shared = Arc::new(Shared::default());
        let (grown, sizes) = mailbox().unwrap();
        let (duties, _) = mailbox().unwrap();
        let (surveyor, surveys) = Surveyor::hung(duties);
        let mut keeper = Keeper::new(source, backing, vec![queue], shared.clone(), grown, surveyor);
        (keeper.has_disk, keeper.has_locks) = (true, true);
        Self { keeper, image, shared, disk_is_idle, told, surveys: Box::new(surveys), sizes }
    }

    fn is_locked(&self) -> bool {
        match ImageFile::open(self.image.path(), Access::ReadWrite) {
            Ok(_) => false,
            Err(OpenError::InUse { .. }) => true,
            Err(error) => panic!("{error}"),
        }
    }

    fn told(&self) -> Vec<&'static str> {
        self.told.try_iter().collect()
    }
}

/// A queue that does nothing but answer.
fn queue(disk_is_idle: Arc<AtomicBool>) -> (QueueHandle, mpsc::Receiver<&'static str>) {
    let (commands, orders) = mpsc::channel();
    let (told, hears) = mpsc::channel();
    thread::spawn(move || {
        for command in orders {
            match command {
                Command::Fence(_, reply) => {
                    let _ = told.send("fence");
                    let (last_io, key_dropped) = (None::<SystemTime>, Instant::now());
                    let disk_is_idle = disk_is_idle.load(Ordering::Relaxed);
                    let _ = reply.send(Fenced { last_io, key_dropped, held: 0, disk_is_idle });
                }
                Command::SetCapacity(_, reply) => {
                    let _ = told.send("capacity");
                    let _ = reply.send(());
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    (QueueHandle::awake(Line::new(commands, bell)), hears)
}

#[test]
fn a_disk_is_let_go_when_nothing_is_at_it_any_more() {
    let mut scene = Scene::new();
    scene.disk_is_idle.store(false, Ordering::Relaxed);
    scene.keeper.let_go();
    assert!(scene.is_locked() && scene.keeper.has_disk);
    assert_eq!(scene.told(), ["fence"]);
    // It looks again by the clock, and not before.
    scene.keeper.tend_leaving();
    assert!(scene.told().is_empty());
    assert!(scene.keeper.next_duty().unwrap().remaining() <= RECONNECT_TIME.1);
    scene.keeper.leaving = Leaving::Later(BootTime::now());
    scene.keeper.tend_leaving();
    assert!(scene.is_locked());
    scene.disk_is_idle.store(true, Ordering::Relaxed);
    scene.keeper.leaving = Leaving::Later(BootTime::now());
    scene.keeper.tend_leaving();
    assert!(!scene.is_locked() && !scene.keeper.has_disk && !scene.keeper.leaves());
}

#[test]
fn a_disk_that_may_have_lost_what_was_answered_stays() {
    let mut scene = Scene::new();
    scene.shared.poisoned.store(true, Ordering::Relaxed);
    scene.keeper.let_go();
    assert!(scene.is_locked() && scene.keeper.has_disk);
    // Its VM may go on here, where it hears of it.
    scene.keeper.have_disk();
    assert!(!scene.keeper.leaves() && scene.keeper.has_locks);
    assert!(scene.keeper.next_duty().unwrap().remaining().is_zero(), "it gets its key anew");
    scene.keeper.let_go();
    assert!(scene.is_locked());
}

#[test]
fn a_vm_that_is_back_already_has_not_left() {
    let mut scene = Scene::new();
    let _ = scene.keeper.obey(&[Duty::LetGo, Duty::HaveDisk]);
    assert!(scene.is_locked() && scene.told().is_empty());
    let _ = scene.keeper.obey(&[Duty::LetGo, Duty::HaveDisk, Duty::LetGo]);
    assert!(!scene.is_locked());
    assert_eq!(scene.told(), ["fence"]);
}

/// Attempts of a disk that begins as another process's, as often as keyd answers so, in an hour.
fn attempts_in_an_hour(keeper: &mut Keeper, code: RefusalCode) -> usize {
    let mut left = Duration::from_secs(3600);
    let refused =
        || ClientError::Refused(keyd_client::message::Refusal { code, message: "no".into() });
    let pauses = std::iter::from_fn(|| {
        keeper.lose(refused().into());
        left = left.checked_sub(keeper.retry_at.remaining())?;
        Some(())
    });
    pauses.count()
}

#[test]
fn who_is_refused_asks_ever_less_often_and_who_waits_for_another_process_does_not() {
    let mut scene = Scene::new();
    for (code, range) in [
        // Its set does not park: nothing but somebody's doing brings the key back.
        (RefusalCode::KeyDisabled, 120..140),
        (RefusalCode::InUse, 3600..3700),
        (RefusalCode::Forbidden, 120..140),
        (RefusalCode::Unavailable, 3600..3700),
    ] {
        let attempts = attempts_in_an_hour(&mut scene.keeper, code);
        assert!(range.contains(&attempts), "{code:?}: {attempts}");
    }
    // A VM that comes back has it at once.
    scene.keeper.let_go();
    scene.keeper.have_disk();
    assert!(scene.keeper.retry_at.remaining().is_zero());
}

#[test]
fn an_image_that_does_not_answer_holds_up_nothing() {
    let mut scene = Scene::new();
    let dek = Dek::fill_with(|bytes| {
        bytes.iter_mut().zip(0..).for_each(|(byte, i)| *byte = i);
        Ok(())
    });
    let key = Arc::new(XtsCipher::new(dek.unwrap(), SectorSize::B512).unwrap());
    scene.keeper.key = Arc::downgrade(&key);
    scene.keeper.ends = BootTime::now().after(Duration::from_secs(3600));
    for size in [2 * SIZE, 2 * SIZE, 3 * SIZE] {
        scene.keeper.survey(size);
    }
    assert!(scene.told().is_empty());
    assert_eq!((scene.surveys)(), [2 * SIZE], "one at a time");
    let _ = scene.keeper.obey(&[Duty::Grow { size: 2 * SIZE, has_room: true }]);
    assert_eq!(scene.told(), ["capacity"]);
    assert!(scene.sizes.take().eq([2 * SIZE]));
    assert_eq!((scene.surveys)(), [3 * SIZE]);
    let _ = scene.keeper.obey(&[Duty::Grow { size: 3 * SIZE, has_room: false }]);
    assert!(scene.told().is_empty() && (scene.surveys)().is_empty());
    // Somebody has made it longer, and said so once more.
    scene.keeper.survey(3 * SIZE);
    assert_eq!((scene.surveys)(), [3 * SIZE]);

    // Before there is a key, the disk has its size or is not had.
    drop(key);
    let time = Duration::from_millis(1);
    assert!(matches!(scene.keeper.grow_at_once(3 * SIZE, time), Err(LeaseError::ImageHangs)));
}
