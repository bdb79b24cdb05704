//! What map runs need of the outside: items read and results written, each on a thread of its own.

use std::sync::Arc;

use starmap_asl::ReaderRequest;

use super::{Driver, Message};
use crate::items::Failed;
use crate::items::blocking::{self, Position};
use crate::journal::MapRunRow;
use crate::results::{self, ResultJob};

impl Driver {
    pub(super) fn read_items(
        &mut self,
        map_run: MapRunRow,
        redrive_count: u32,
        request: Arc<ReaderRequest>,
        from: Position,
    ) {
        let sender = self.sender.clone();
        let send = move |read| sender.send(Message::ItemsRead { map_run, redrive_count, read }).is_ok();
        match blocking::start(Arc::clone(&self.objects), self.runtime.clone(), request, from, send) {
            Ok(wanted) => drop(self.readers.insert(map_run, wanted)),
            Err(error) => {
                let cause = format!("the thread that reads items could not be started: {error}");
                let read = Err(Failed { error: "States.ItemReaderFailed".to_owned(), cause });
                let _ = self.sender.send(Message::ItemsRead { map_run, redrive_count, read });
            }
        }
    }

    pub(super) fn more_items(&self, map_run: MapRunRow) {
        if let Some(wanted) = self.readers.get(&map_run) {
            wanted.more();
        }
    }

    /// Results of one map run are written by one thread at a time: those of a redrive wait until the earlier ones are
    /// there, or they would mix.
    pub(super) fn write_results(&mut self, map_run: MapRunRow, job: Box<ResultJob>) {
        if let Some(next) = self.writers.get_mut(&map_run) {
            *next = Some(job);
            return;
        }
        self.writers.insert(map_run, None);
        self.start_writer(map_run, job);
    }

    /// A writer has ended; the next one begins.
    pub(super) fn writer_ended(&mut self, map_run: MapRunRow) {
        if let Some(Some(job)) = self.writers.remove(&map_run) {
            self.write_results(map_run, job);
        }
    }

    fn start_writer(&self, map_run: MapRunRow, job: Box<ResultJob>) {
        let redrive_count = job.redrive_count;
        let (objects, runtime) = (Arc::clone(&self.objects), self.runtime.clone());
        let (journal, sender) = (Arc::clone(&self.reader), self.sender.clone());
        let writer = std::thread::Builder::new().name("result-writer".to_owned());
        let started = writer.spawn(move || {
            let put = |bucket: &str, key: &str, content| runtime.block_on(objects.put(bucket, key, content)).map(drop);
            let written = results::write(&*journal, &job, &put);
            let _ = sender.send(Message::ResultsWritten { map_run, redrive_count, written });
        });
        if let Err(error) = started {
            let cause = format!("the thread that writes results could not be started: {error}");
            let written = Err(Failed { error: "States.ResultWriterFailed".to_owned(), cause });
            let _ = self.sender.send(Message::ResultsWritten { map_run, redrive_count, written });
        }
    }
}
