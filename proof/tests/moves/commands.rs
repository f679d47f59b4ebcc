//! `flyball ledger import` and `migrate`, killed and run again.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use flyball::anchor::FileAnchor;
use flyball::ledger::FileDraft;
use flyball::ledger::stored::{Draft, Store};
use flyball_core::ports::{Anchor, Ledger};
use flyball_proof::random::Random;
use flyball_proof::rig::{Replica, shared_nats};

use super::bed::{self, ENTRIES, REMOVED, Source, runtime, same};
use super::scene::{End, How, NOWHERE, Point, Scene, What, each, ends, says};

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    /// `import` into a stream.
    ImportToNats,
    /// `import` into a file.
    ImportToFile,
    /// `migrate` from a file to a stream, without an engine.
    MoveToNats,
    /// `migrate` from a stream to a file, without an engine.
    MoveToFile,
}

/// A command on its way, with what it works on.
struct Work<'a> {
    command: Command,
    source: &'a Source,
    scene: Scene,
    process: Arc<Replica>,
}

impl<'a> Work<'a> {
    fn new(command: Command, source: &'a Source) -> Result<Self> {
        let scene = Scene::new()?;
        let (url, lines, file) = (scene.proxy.url(), scene.text("lines"), scene.text("ledger"));
        let moves = ["--mark-beside", "--server", NOWHERE];
        let arguments: Vec<&str> = match command {
            Command::ImportToNats => vec!["ledger", "import", &lines, "--nats", &url],
            Command::ImportToFile => vec!["ledger", "import", &lines, "--ledger", &file],
            Command::MoveToNats => {
                [&["ledger", "migrate", "--to", "nats", "--ledger", &file, "--nats", &url][..], &moves].concat()
            }
            Command::MoveToFile => [&["ledger", "migrate", "--to", &file, "--nats", &url][..], &moves].concat(),
        };
        let process = scene.process(&arguments);
        let work = Self { command, source, scene, process };
        work.prepare()?;
        Ok(work)
    }

    fn prepare(&self) -> Result<()> {
        let (scene, source) = (&self.scene, self.source);
        let identity = match self.command {
            Command::ImportToNats | Command::ImportToFile => {
                return Ok(fs::write(scene.path("lines"), source.lines(&scene.cluster)?)?);
            }
            Command::MoveToNats => {
                source.copy(&scene.path("ledger"))?;
                source.identity()
            }
            Command::MoveToFile => {
                source.stream(&scene.cluster)?;
                bed::stream(&scene.cluster)?.identity()
            }
        };
        let written = runtime().block_on(self.anchor().write(None, source.mark(identity)?))?;
        ensure!(written, "there was a mark already");
        Ok(())
    }

    /// Without Kubernetes the mark lies beside the file, be it the old ledger or the new one.
    fn anchor(&self) -> FileAnchor {
        FileAnchor::beside(&self.scene.path("ledger"))
    }

    fn is_to_nats(&self) -> bool {
        matches!(self.command, Command::ImportToNats | Command::MoveToNats)
    }

    fn moves(&self) -> bool {
        matches!(self.command, Command::MoveToNats | Command::MoveToFile)
    }

    fn target(&self) -> Result<Box<dyn Store>> {
        if self.is_to_nats() {
            Ok(Box::new(bed::stream(&self.scene.cluster)?))
        } else {
            Ok(Box::new(bed::open(&self.scene.path("ledger"))?))
        }
    }

    fn dies(&self, point: Point) -> Result<End> {
        match point.0 {
            What::File(changes) => Scene::dies_after(&self.process, &self.scene.path("ledger"), changes),
            What::Mark => Scene::dies_after(&self.process, &self.scene.path("ledger.mark"), 1),
            _ => self.scene.dies(&self.process, point, || {
                self.process.launch();
                Ok(())
            }),
        }
    }

    /// What the command says that has nothing left to do.
    fn over(&self) -> (i32, &'static str) {
        match self.command {
            Command::ImportToNats => (2, "only one that is not there can be filled"),
            Command::ImportToFile => (1, "only an empty one can be filled"),
            Command::MoveToNats | Command::MoveToFile => (1, "was moved to"),
        }
    }

    /// Nobody reads a ledger that is not whole.
    fn is_whole(&self) -> Result<bool> {
        let (url, file) = (shared_nats().url(), self.scene.text("ledger"));
        let at = if self.is_to_nats() { ["--nats", &url] } else { ["--ledger", &file] };
        let (code, said) = ends(&self.scene.process(&[&["ledger", "export"][..], &at].concat()))?;
        let refused = said.contains("there is no ledger") || said.contains("is an unfinished");
        ensure!(code == 0 || refused, "code {code}: {said}");
        Ok(code == 0)
    }

    /// How far the new file had come.
    fn reached(&self) -> Result<u64> {
        let file = self.scene.path("ledger");
        if self.is_to_nats() || !file.exists() {
            return Ok(0);
        }
        let copy = self.scene.path("copy");
        fs::copy(&file, &copy)?;
        let source = self.source.identity();
        let begun = match self.command {
            Command::ImportToFile => FileDraft::begin(&copy, &format!("import of {source}")),
            _ => FileDraft::begin(&copy, &format!("migration of {}", bed::stream(&self.scene.cluster)?.identity())),
        };
        Ok(begun?.reached().0)
    }

    fn is_all_there(&self, what: &str) -> Result<()> {
        let target = self.target()?;
        same(&*target, &self.source.told, what)?;
        if self.moves() {
            let mark = runtime().block_on(self.anchor().read())?.context("a mark")?;
            let wanted = self.source.mark(target.identity())?;
            ensure!(mark == wanted, "{what}: the mark is {mark:?} instead of {wanted:?}");
        }
        Ok(())
    }
}

/// Kills it at the point, runs it again, and compares.
fn killed(command: Command, source: &Source, point: Point) -> Result<String> {
    let work = Work::new(command, source)?;
    let (late, ended) = match work.dies(point)? {
        End::Killed(late) => (late, None),
        End::Over(code) => {
            // On the wire a point is a place, and not a moment: it is always come to.
            let chance = matches!(point.0, What::File(_) | What::Mark);
            ensure!(chance && code == 0, "it ended with {code} and had not come there: {}", work.process.said());
            (None, Some(code))
        }
    };
    let whole = work.is_whole()?;
    let reached = if whole { 0 } else { work.reached()? };
    let (over, words) = work.over();
    if whole {
        says(&work.process, over, words)?;
    } else {
        says(&work.process, 0, if work.moves() { "from now on" } else { "imported" })?;
    }
    work.is_all_there("run again")?;
    let mut told = match (ended, whole) {
        (Some(_), _) => "it was quicker".to_owned(),
        (None, true) => "killed, and all was done".to_owned(),
        (None, false) if work.is_to_nats() => "killed, went on".to_owned(),
        (None, false) => format!("killed when the file had come to entry {reached}, went on"),
    };
    if let Some(late) = late {
        let answer = late.arrives()?;
        ensure!(answer.contains(r#""error""#) || !matches!(point.0, What::Entry(_)), "it landed late: {answer}");
        work.is_all_there("after what came late")?;
        told += ", and what was held changed nothing";
    }
    says(&work.process, over, words)?;
    match command {
        Command::MoveToNats => same(&bed::open(&work.scene.path("ledger"))?, &source.told, "the old one")?,
        Command::MoveToFile => same(&bed::stream(&work.scene.cluster)?, &source.told, "the old one")?,
        Command::ImportToNats | Command::ImportToFile => {}
    }
    Ok(told)
}

/// Entries at which it dies: the first and the last, the edges of a window and of a batch, and some by chance.
fn places(seed: u64) -> Vec<usize> {
    let (count, mut random) = (ENTRIES - REMOVED, Random::new(seed));
    let chance = |_| 1 + usize::try_from(random.below(count as u64)).expect("it fits");
    [1, 256, 257, 1000, 1001, count].into_iter().chain((0..4).map(chance)).collect()
}

/// Each place in one way after the other.
fn entries(seed: u64, ways: &[How], what: fn(usize) -> What) -> Vec<Point> {
    places(seed).into_iter().zip(ways.iter().cycle()).map(|(place, how)| Point(what(place), *how)).collect()
}

const ASKED: [How; 4] = [How::Seen, How::Done, How::Answered, How::Held];

fn all(what: What) -> Vec<Point> {
    ASKED.iter().map(|how| Point(what, *how)).collect()
}

#[test]
fn an_import_into_a_stream_goes_on_after_a_kill_anywhere() -> Result<()> {
    let source = Source::new(true)?;
    let points = [all(What::Create), entries(1, &ASKED, What::Entry), all(What::Update)].concat();
    each("import to NATS", points, |it| killed(Command::ImportToNats, &source, it))
}

#[test]
fn an_import_into_a_file_goes_on_after_a_kill_anywhere() -> Result<()> {
    let source = Source::new(true)?;
    let points = (1..=9).map(|changes| Point(What::File(changes), How::Answered)).collect();
    each("import to a file", points, |it| killed(Command::ImportToFile, &source, it))
}

#[test]
fn a_move_to_a_stream_goes_on_after_a_kill_anywhere() -> Result<()> {
    let source = Source::new(true)?;
    let last = ENTRIES - REMOVED;
    let ends = [How::Seen, How::Done, How::Answered].map(|how| Point(What::Entry(last), how)).to_vec();
    let mark = vec![Point(What::Mark, How::Answered); 2];
    let points = [all(What::Create), entries(2, &ASKED, What::Entry), ends, mark, all(What::Update)].concat();
    each("move to NATS", points, |it| killed(Command::MoveToNats, &source, it))
}

#[test]
fn a_move_to_a_file_goes_on_after_a_kill_anywhere() -> Result<()> {
    let source = Source::new(true)?;
    let files = (1..=6).map(|changes| Point(What::File(2 * changes), How::Answered)).collect();
    let mark = vec![Point(What::Mark, How::Answered); 2];
    let points = [entries(3, &[How::Seen], What::Delivery), files, mark, all(What::Update)].concat();
    each("move to a file", points, |it| killed(Command::MoveToFile, &source, it))
}
