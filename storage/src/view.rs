//! Folders in memory: what SELECT, FETCH of flags and SEARCH by flags read, without asking the database.
//!
//! A view holds the folder as it was at its highest modification sequence: every change up to it, none after
//! it. Whoever commits a change in this process tells the view, and may be overtaken by another: a notice
//! that does not follow directly on what the view knows makes it read what is missing from the database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use event_listener::Event;

use crate::error::Result;
use crate::store::Store;
use crate::types::*;

/// Changes that a view remembers for its sessions; one that falls further behind reads the whole view again.
pub const CHANGES_MAX: usize = 4_096;

/// A folder as one moment showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderState {
    /// The folder; its counts agree with `rows`.
    pub info: FolderInfo,
    /// By UID: the position is the message sequence number less one.
    pub rows: Vec<Row>,
    /// The folder was deleted; nothing will change any more.
    pub gone: bool,
}

impl FolderState {
    /// Where the message of that UID stands in `rows`.
    pub fn position(&self, uid: u32) -> Option<usize> {
        self.rows.binary_search_by_key(&uid, |row| row.uid).ok()
    }

    /// The message of that UID.
    pub fn row(&self, uid: u32) -> Option<&Row> {
        self.rows.get(self.position(uid)?)
    }
}

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A message came.
    Added(Row),
    /// A message's flags or modification sequence changed.
    Flags(Row),
    /// A message went.
    Expunged {
        /// Which.
        uid: u32,
        /// The modification sequence of its removal.
        modseq: u64,
    },
    /// The folder has new keywords.
    Keywords,
    /// The folder was deleted.
    Gone,
}

/// What changed since a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These, in order, and the version they lead to.
    List(Vec<Change>, u64),
    /// More than the view remembers: compare with all of the state.
    Resync,
}

/// A folder shared by the sessions that look at it.
pub struct FolderView {
    id: FolderId,
    store: Arc<dyn Store>,
    inner: Mutex<Inner>,
    changed: Event,
    /// Held while the database is read, so that it is read once for all who wait.
    reading: async_lock::Mutex<()>,
}

struct Inner {
    state: Option<FolderState>,
    /// The first version that `log` leads on from, and the changes since.
    base: u64,
    log: VecDeque<Change>,
    /// The highest modification sequence that a notice named; above the state's, something is missing.
    noticed: u64,
}

impl std::fmt::Debug for FolderView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FolderView")
            .field("id", &self.id)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// A committed change, as its maker tells the view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notice {
    /// Rows that came or changed.
    pub rows: Vec<Row>,
    /// UIDs that went, and at which modification sequence.
    pub expunged: Option<(Vec<u32>, u64)>,
    /// The folder's keywords after the change, when they are known.
    pub keywords: Option<Vec<String>>,
}

impl Notice {
    /// Lowest and highest modification sequence, when there is none missing between.
    fn span(&self) -> Option<(u64, u64)> {
        let mut all: Vec<u64> = self.rows.iter().map(|row| row.modseq).collect();
        all.extend(self.expunged.iter().map(|(_, modseq)| *modseq));
        all.sort_unstable();
        all.dedup();
        let (first, last) = (*all.first()?, *all.last()?);
        (last - first + 1 == all.len() as u64).then_some((first, last))
    }

    fn highest(&self) -> u64 {
        let rows = self.rows.iter().map(|row| row.modseq);
        rows.chain(self.expunged.iter().map(|(_, modseq)| *modseq)).max().unwrap_or(0)
    }
}

impl FolderView {
    fn new(id: FolderId, store: Arc<dyn Store>) -> FolderView {
        let inner = Inner { state: None, base: 0, log: VecDeque::new(), noticed: 0 };
        FolderView {
            id,
            store,
            inner: Mutex::new(inner),
            changed: Event::new(),
            reading: async_lock::Mutex::new(()),
        }
    }

    /// Which folder.
    pub fn id(&self) -> FolderId {
        self.id
    }

    /// Looks at the folder. Keep it short: others wait, committers among them.
    pub fn with<T>(&self, look: impl FnOnce(&FolderState) -> T) -> T {
        let inner = self.lock();
        look(inner.state.as_ref().expect("a view is handed out after it was loaded"))
    }

    /// Rises with every change.
    pub fn version(&self) -> u64 {
        self.lock().version()
    }

    /// State and version of one moment: where a session starts.
    pub fn with_version<T>(&self, look: impl FnOnce(&FolderState, u64) -> T) -> T {
        let inner = self.lock();
        look(inner.state.as_ref().expect("a view is handed out after it was loaded"), inner.version())
    }

    /// Waits until there are changes after `since`.
    pub async fn changed(&self, since: u64) {
        loop {
            let listener = self.changed.listen();
            if self.version() > since {
                return;
            }
            listener.await;
        }
    }

    /// The changes after `since`.
    pub fn changes(&self, since: u64) -> Changes {
        let inner = self.lock();
        let version = inner.version();
        match usize::try_from(since.saturating_sub(inner.base)) {
            Ok(skip) if since >= inner.base => {
                Changes::List(inner.log.iter().skip(skip).cloned().collect(), version)
            }
            _ => Changes::Resync,
        }
    }

    /// Takes in a committed change. `true`: something before it is missing, so [`FolderView::refresh`].
    fn notice(&self, notice: &Notice) -> bool {
        let mut inner = self.lock();
        let highest = notice.highest();
        inner.noticed = inner.noticed.max(highest);
        let Some(state) = &inner.state else { return false };
        let known = state.info.highest_modseq;
        if highest <= known || state.gone {
            return false;
        }
        let keywords = notice.keywords.as_ref().map_or(state.info.keywords.len(), Vec::len);
        let unknown_keyword = notice.rows.iter().any(|row| row.flags.0 >> 8 >> keywords.min(55) != 0);
        let follows = notice.span().is_some_and(|(first, _)| first == known + 1);
        if unknown_keyword || !follows {
            return true;
        }
        inner.apply(&notice.rows, notice.expunged.as_slice(), highest);
        if let Some(keywords) = &notice.keywords {
            inner.keywords(keywords);
        }
        drop(inner);
        self.changed.notify(usize::MAX);
        false
    }

    /// Reads the folder, or what changed in it since.
    pub(crate) async fn refresh(&self) -> Result<()> {
        let _reading = self.reading.lock().await;
        self.read().await
    }

    async fn ensure_current(&self) -> Result<()> {
        let current = |inner: &Inner| {
            inner.state.as_ref().is_some_and(|state| state.gone || state.info.highest_modseq >= inner.noticed)
        };
        if current(&self.lock()) {
            return Ok(());
        }
        let _reading = self.reading.lock().await;
        while !current(&self.lock()) {
            let before = self.lock().noticed;
            self.read().await?;
            // A notice that names more than the database has would never be caught up with.
            let mut inner = self.lock();
            if inner.noticed == before && !current(&inner) {
                inner.noticed = 0;
            }
        }
        Ok(())
    }

    async fn read(&self) -> Result<()> {
        let known = self.lock().state.as_ref().map(|state| state.info.highest_modseq);
        match known {
            None => {
                let (info, rows) = self.store.load_folder(self.id).await?;
                let mut inner = self.lock();
                inner.state = Some(FolderState { info, rows, gone: false });
            }
            Some(known) => {
                let (info, rows, gone) = self.store.changes_since(self.id, known).await?;
                self.lock().catch_up(&info, &rows, gone);
            }
        }
        self.changed.notify(usize::MAX);
        Ok(())
    }

    /// Whose folder it is, once loaded.
    pub(crate) fn mailbox(&self) -> Option<MailboxId> {
        self.lock().state.as_ref().map(|state| state.info.mailbox)
    }

    pub(crate) fn set_gone(&self) {
        let mut inner = self.lock();
        if let Some(state) = inner.state.as_mut().filter(|state| !state.gone) {
            state.gone = true;
            inner.log(Change::Gone);
        }
        drop(inner);
        self.changed.notify(usize::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn version(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    fn log(&mut self, change: Change) {
        if self.log.len() >= CHANGES_MAX {
            self.log.pop_front();
            self.base += 1;
        }
        self.log.push_back(change);
    }

    /// Rows as they are now and UIDs that went, which lead to `highest`.
    fn apply(&mut self, rows: &[Row], expunged: &[(Vec<u32>, u64)], highest: u64) {
        let Some(mut state) = self.state.take() else { return };
        for row in rows {
            match state.rows.binary_search_by_key(&row.uid, |row| row.uid) {
                Ok(at) => {
                    let before = std::mem::replace(&mut state.rows[at], *row);
                    count(&mut state.info, &before, false);
                    count(&mut state.info, row, true);
                    if before != *row {
                        self.log(Change::Flags(*row));
                    }
                }
                Err(at) => {
                    state.rows.insert(at, *row);
                    count(&mut state.info, row, true);
                    state.info.uid_next = state.info.uid_next.max(row.uid.saturating_add(1));
                    self.log(Change::Added(*row));
                }
            }
        }
        for (uids, modseq) in expunged {
            self.remove(&mut state, uids, *modseq);
        }
        state.info.highest_modseq = highest;
        self.state = Some(state);
    }

    fn remove(&mut self, state: &mut FolderState, uids: &[u32], modseq: u64) {
        let gone: std::collections::HashSet<u32> = uids.iter().copied().collect();
        let info = &mut state.info;
        state.rows.retain(|row| {
            let stays = !gone.contains(&row.uid);
            if !stays {
                count(info, row, false);
                self.log(Change::Expunged { uid: row.uid, modseq });
            }
            stays
        });
    }

    fn keywords(&mut self, keywords: &[String]) {
        if let Some(state) = &mut self.state
            && state.info.keywords != keywords
        {
            state.info.keywords = keywords.to_vec();
            self.log(Change::Keywords);
        }
    }

    /// Takes in what the database says changed since the state's modification sequence, or an earlier one.
    fn catch_up(&mut self, info: &FolderInfo, rows: &[Row], gone: Vec<u32>) {
        let known = self.state.as_ref().map_or(0, |state| state.info.highest_modseq);
        if info.highest_modseq >= known {
            if info.highest_modseq > known {
                // Keywords first: sessions must know a keyword before a message shows it.
                self.keywords(&info.keywords);
                self.apply(rows, &[(gone, info.highest_modseq)], info.highest_modseq);
            }
            if let Some(state) = &mut self.state {
                state.info = info.clone();
            }
        }
    }
}

fn count(info: &mut FolderInfo, row: &Row, came: bool) {
    let unseen = u32::from(!row.flags.contains(Flags::SEEN));
    if came {
        info.messages = info.messages.saturating_add(1);
        info.unseen = info.unseen.saturating_add(unseen);
        info.size = info.size.saturating_add(row.size);
    } else {
        info.messages = info.messages.saturating_sub(1);
        info.unseen = info.unseen.saturating_sub(unseen);
        info.size = info.size.saturating_sub(row.size);
    }
}

/// The views that somebody holds.
pub(crate) struct Views {
    store: Arc<dyn Store>,
    map: Mutex<ViewMap>,
}

#[derive(Default)]
struct ViewMap {
    views: HashMap<FolderId, Weak<FolderView>>,
    /// When the map has grown to this, views that nobody holds are taken out.
    sweep_at: usize,
}

impl Views {
    pub(crate) fn new(store: Arc<dyn Store>) -> Views {
        Views { store, map: Mutex::default() }
    }

    /// The folder's view, loaded.
    pub(crate) async fn open(&self, id: FolderId) -> Result<Arc<FolderView>> {
        let view = {
            let mut map = self.lock();
            let live = map.views.get(&id).and_then(Weak::upgrade);
            match live {
                Some(view) => view,
                None => {
                    if map.views.len() >= map.sweep_at {
                        map.views.retain(|_, view| view.strong_count() > 0);
                        map.sweep_at = (map.views.len() * 2).max(64);
                    }
                    // It is in the map before it is loaded, so that no notice passes it by.
                    let view = Arc::new(FolderView::new(id, self.store.clone()));
                    map.views.insert(id, Arc::downgrade(&view));
                    view
                }
            }
        };
        view.ensure_current().await?;
        Ok(view)
    }

    pub(crate) fn live(&self, id: FolderId) -> Option<Arc<FolderView>> {
        self.lock().views.get(&id).and_then(Weak::upgrade)
    }

    /// Lets a view believe that it heard of a change that it does not know.
    #[cfg(test)]
    pub(crate) fn mark_behind(&self, id: FolderId) {
        if let Some(view) = self.live(id) {
            view.lock().noticed = u64::MAX;
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<FolderView>> {
        self.lock().views.values().filter_map(Weak::upgrade).collect()
    }

    /// Tells a folder's view, when there is one, of a committed change.
    pub(crate) async fn notice(&self, id: FolderId, notice: Notice) {
        if let Some(view) = self.live(id)
            && view.notice(&notice)
            && let Err(error) = view.refresh().await
        {
            // The view knows that something is missing, and reads it when it is next asked for.
            tracing::warn!(folder = %id, %error, "a folder's changes could not be read");
        }
    }

    /// Tells the views of rows that a commit placed.
    pub(crate) async fn placed<'a>(&self, placed: impl Iterator<Item = &'a Placed>) {
        let mut by_folder: HashMap<FolderId, Vec<Row>> = HashMap::new();
        for place in placed {
            by_folder.entry(place.folder).or_default().push(place.row);
        }
        for (folder, rows) in by_folder {
            self.notice(folder, Notice { rows, ..Notice::default() }).await;
        }
    }

    /// Reads again what views of a mailbox may have missed: a change that names no rows was made.
    pub(crate) async fn refresh_mailbox(&self, mailbox: MailboxId) {
        for view in self.all() {
            let of_mailbox =
                |inner: &Inner| inner.state.as_ref().is_some_and(|s| s.info.mailbox == mailbox && !s.gone);
            if of_mailbox(&view.lock()) {
                self.refresh_or_gone(&view).await;
            }
        }
    }

    /// Reads what another process changed.
    pub(crate) async fn refresh_or_gone(&self, view: &FolderView) {
        match view.refresh().await {
            Ok(()) => {}
            Err(crate::Error::NotFound) => view.set_gone(),
            Err(error) => tracing::warn!(folder = %view.id, %error, "a folder's changes could not be read"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ViewMap> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
