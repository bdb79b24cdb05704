//! What map runs need of the outside: items read and results written, each on a thread of its own.

use std::sync::Arc;

use starmap_asl::ReaderRequest;

use super::{Driver, Message};
use crate::items::Failed;
use crate::items::blocking::{self, Position};
use crate::journal::MapRunRow;
use crate::results::{self, ResultJob};

impl Driver {
    pub(super) fn read_items(&mut self, map_run: MapRunRow, request: Arc<ReaderRequest>, from: Position) {
        let sender = self.sender.clone();
        let send = move |read| sender.send(Message::ItemsRead { map_run, read }).is_ok();
        match blocking::start(Arc::clone(&self.objects), self.runtime.clone(), request, from, send) {
            Ok(wanted) => drop(self.readers.insert(map_run, wanted)),
            Err(error) => {
                let cause = format!("the thread that reads items could not be started: {error}");
                let read = Err(Failed { error: "States.ItemReaderFailed".to_owned(), cause });
                let _ = self.sender.send(Message::ItemsRead { map_run, read });
            }
        }
    }

    pub(super) fn more_items(&self, map_run: MapRunRow) {
        if let Some(wanted) = self.readers.get(&map_run) {
            wanted.more();
        }
    }

    pub(super) fn write_results(&self, map_run: MapRunRow, job: Box<ResultJob>) {
        let (objects, runtime) = (Arc::clone(&self.objects), self.runtime.clone());
        let (journal, sender) = (Arc::clone(&self.reader), self.sender.clone());
        let writer = std::thread::Builder::new().name("result-writer".to_owned());
        let started = writer.spawn(move || {
            let put = |bucket: &str, key: &str, content| runtime.block_on(objects.put(bucket, key, content)).map(drop);
            let written = results::write(&*journal, &job, &put);
            let _ = sender.send(Message::ResultsWritten { map_run, written });
        });
        if let Err(error) = started {
            let cause = format!("the thread that writes results could not be started: {error}");
            let written = Err(Failed { error: "States.ResultWriterFailed".to_owned(), cause });
            let _ = self.sender.send(Message::ResultsWritten { map_run, written });
        }
    }
}
