//! The mark as a file beside the ledger's, where there is no Kubernetes to keep it.

use std::io;
use std::path::{Path, PathBuf};

use flyball_core::mark::Mark;
use flyball_core::ports::{Anchor, Answer, PortError};

/// The mark in one file. One process has the ledger, so nobody else writes it.
pub struct FileAnchor(PathBuf);

impl FileAnchor {
    /// The mark of the ledger at `ledger`: its path with `.mark` after it.
    pub fn beside(ledger: &Path) -> Self {
        let mut path = ledger.as_os_str().to_owned();
        path.push(".mark");
        Self(path.into())
    }

    fn read(&self) -> Result<Option<Mark>, PortError> {
        let path = self.0.display();
        let bytes = match std::fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(PortError::Unavailable(format!("{path}: {error}"))),
        };
        let mark = serde_json::from_slice(&bytes);
        mark.map(Some).map_err(|error| PortError::Unavailable(format!("{path} is no high-water mark: {error}")))
    }

    fn replace(&self, mark: &Mark) -> io::Result<()> {
        use io::Write;
        let folder = self.0.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Under another name first: a file that has the name is whole, whenever the process is killed.
        let mut draft = tempfile::Builder::new().prefix(".flyball-mark-").tempfile_in(folder)?;
        draft.write_all(&serde_json::to_vec(mark)?)?;
        draft.as_file().sync_all()?;
        draft.persist(&self.0).map_err(|error| error.error)?;
        std::fs::File::open(folder)?.sync_all()
    }
}

impl Anchor for FileAnchor {
    fn read(&self) -> Answer<'_, Result<Option<Mark>, PortError>> {
        Box::pin(async { self.read() })
    }

    fn write(&self, before: Option<Mark>, mark: Mark) -> Answer<'_, Result<bool, PortError>> {
        Box::pin(async move {
            if self.read()? != before {
                return Ok(false);
            }
            let failed = |error| PortError::Unavailable(format!("{}: {error}", self.0.display()));
            self.replace(&mark).map(|()| true).map_err(failed)
        })
    }
}
