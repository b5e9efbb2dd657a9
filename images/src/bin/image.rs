//! `image`: makes and describes encrypted disk images. Parses, calls the library, prints.

use std::{
    fmt::Write,
    io::{IsTerminal, stderr},
    process::ExitCode,
    time::{Duration, Instant},
};

use confine::harden;
use images::{
    SectorSize,
    cli::{Cli, Create, InfoArgs, ResizeArgs, Verb},
    create::{Options, create},
    info::Info,
    resize::resize,
    size,
};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use keyd_client::{Page, terminal};

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

/// A bar on a terminal, a line every few seconds elsewhere.
fn progress(what: &'static str) -> impl FnMut(u64, u64) {
    const EVERY: Duration = Duration::from_secs(5);
    let template = "{bar:40} {done} {binary_bytes_per_sec} {eta}";
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(template) {
        // The bar's own words round: 1600 MiB would be 1.56 GiB.
        let done = |state: &ProgressState, to: &mut dyn Write| {
            let _ = to.write_str(&size::done(state.pos(), state.len().unwrap_or_default()));
        };
        bar.set_style(style.with_key("done", done));
    }
    let terminal = stderr().is_terminal();
    let mut last = Instant::now();
    move |done, total| {
        if terminal {
            bar.set_length(total);
            bar.set_position(done);
        } else if done == total || last.elapsed() > EVERY {
            last = Instant::now();
            terminal::note(format_args!("{what} {}", size::done(done, total)));
        }
    }
}
