//! `image`: makes and describes encrypted disk images. Parses, calls the library, prints.

use std::{
    io::{IsTerminal, stderr},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand};
use confine::harden;
use images::{
    SectorSize,
    create::{Options, create},
    info::Info,
    resize::resize,
    size,
};
use indicatif::{ProgressBar, ProgressStyle};
use keyd_client::{DesName, Page, terminal};

const EXAMPLES: &str = "\
Examples:
  image create web.img --size 10G                   a disk on the platform's key; 'image create web.img 10G' is the same
  image create db.img --size 1T --des prod          a disk on the key of the DES 'prod'
  image create /dev/vg/db --des prod --dense        a whole volume, every sector written
  image resize db.img --size 2T                     longer, while its VM runs
  image info web.img --json

Exit status: 0 done, 1 refused or failed (one line on standard error says what to do), 2 wrong usage.";

/// Encrypted disk images: standard LUKS2 files whose key the key daemon holds.
#[derive(Debug, Parser)]
#[command(name = "image", version, after_help = EXAMPLES)]
struct Cli {
    /// Socket of the key daemon.
    #[arg(
        long,
        global = true,
        env = "KEYD_SOCKET",
        hide_env_values = true,
        default_value = "/run/keyd/keyd.sock"
    )]
    socket: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an encrypted disk, whole or not at all.
    Create(Create),
    /// Make a disk longer, also while a VM runs on it.
    ///
    /// A disk is never made smaller. A guest of QEMU sees the new size at once. Cloud Hypervisor cannot be told: its
    /// guest sees it when the VM is started anew.
    Resize(ResizeArgs),
    /// Tell what an image is; works without the daemon for what the header says.
    Info(InfoArgs),
}

#[derive(Debug, Args)]
struct Create {
    /// A file that does not exist yet, or a block device.
    path: PathBuf,
    /// The size may also stand here, as qemu-img has it.
    #[arg(value_name = "SIZE", value_parser = size::parse, conflicts_with = "size")]
    size_here: Option<u64>,
    /// Bytes a guest sees: a number, with K, M, G, T or P for binary units. A block device defaults to all that fits.
    #[arg(long, value_parser = size::parse, allow_hyphen_values = true)]
    size: Option<u64>,
    /// Disk encryption set; the platform's if none.
    #[arg(long, value_name = "NAME")]
    des: Option<DesName>,
    /// Block size of the disk and data unit of the cipher. A VM with SeaBIOS cannot boot from 4096-byte blocks; with
    /// UEFI it can.
    #[arg(long, value_name = "512|4096", default_value = "512", value_parser = sector_size)]
    sector_size: SectorSize,
    /// Write every sector now, as encrypted zeros; the disk is never punched.
    #[arg(long)]
    dense: bool,
    /// Overwrite a block device that holds data.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct ResizeArgs {
    /// The image.
    path: PathBuf,
    /// The size may also stand here, as qemu-img has it.
    #[arg(value_name = "SIZE", value_parser = size::parse, conflicts_with = "size")]
    size_here: Option<u64>,
    /// Bytes the guest is to see, as with 'create'. A block device defaults to all that fits.
    #[arg(long, value_parser = size::parse, allow_hyphen_values = true)]
    size: Option<u64>,
    /// For scripts: the daemon's record, and who holds the disk.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct InfoArgs {
    /// The image.
    path: PathBuf,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli: Cli = match terminal::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(ended) => return ended,
    };
    // Before a disk's key is there.
    let done = harden().map_err(Into::into).and_then(|()| match &cli.verb {
        Verb::Create(args) => run_create(&cli, args),
        Verb::Resize(args) => run_resize(&cli, args),
        Verb::Info(args) => run_info(&cli, args),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::note(format_args!("image: {error}"));
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn run_create(cli: &Cli, args: &Create) -> Done {
    let options = Options {
        path: args.path.clone(),
        size: args.size.or(args.size_here),
        des: args.des.clone(),
        sector_size: args.sector_size,
        dense: args.dense,
        force: args.force,
    };
    let record = create(&cli.socket, &options, &mut progress("filled"))?;
    terminal::print(&record.id.to_string().into())?;
    if args.sector_size == SectorSize::B4096 {
        terminal::note(
            "image: SeaBIOS, QEMU's default firmware, cannot boot from a disk of 4096-byte blocks: boot its VM by UEFI, by -kernel, or from another disk",
        );
    }
    Ok(())
}

fn run_resize(cli: &Cli, args: &ResizeArgs) -> Done {
    let status =
        resize(&args.path, args.size.or(args.size_here), &cli.socket, &mut progress("zeroed"))?;
    if args.json {
        return Ok(terminal::print(&Page::json(&status)?)?);
    }
    let size = size::show(status.record.geometry.size);
    let page = Page::default().line(format_args!("disk {} has {size} now", status.record.id));
    let page = status.holders.iter().fold(page, |page, holder| {
        page.line(format_args!(
            "process {} serves it: a guest of QEMU sees the new size at once, one of Cloud Hypervisor when its VM is started anew",
            holder.pid
        ))
    });
    Ok(terminal::print(&page)?)
}

fn run_info(cli: &Cli, args: &InfoArgs) -> Done {
    let info = Info::read(&args.path, &cli.socket)?;
    let page = if args.json { Page::json(&info)? } else { info.page() };
    Ok(terminal::print(&page)?)
}

fn sector_size(text: &str) -> Result<SectorSize, &'static str> {
    text.parse().ok().and_then(SectorSize::from_bytes).ok_or("a sector has 512 or 4096 bytes")
}

/// A bar on a terminal, a line every few seconds elsewhere.
fn progress(what: &'static str) -> impl FnMut(u64, u64) {
    const EVERY: Duration = Duration::from_secs(5);
    let template = "{bar:40} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let terminal = stderr().is_terminal();
    let mut last = Instant::now();
    move |done, total| {
        if terminal {
            bar.set_length(total);
            bar.set_position(done);
        } else if done == total || last.elapsed() > EVERY {
            last = Instant::now();
            let (done, total) = (size::show(done), size::show(total));
            terminal::note(format_args!("{what} {done} of {total}"));
        }
    }
}
