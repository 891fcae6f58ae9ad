//! Clients of several organisations: each submits a message until somebody says that it is accepted.

use std::sync::Arc;

use futures_lite::future;
use storage::{Error, JobId, JobRecipient, MessageId, NewJob, RecipientState, Refusal};

use crate::books::Message;
use crate::exec::lock;
use crate::mutants::Mutant;
use crate::world::{SECOND, World};

const LOCAL_PARTS: [&str; 9] = ["ok", "ok", "ok", "no", "never", "later", "full", "grey", "moody"];
const WISHES: [Option<&str>; 7] =
    [None, None, None, Some("NEVER"), Some("SUCCESS,FAILURE"), Some("FAILURE,DELAY"), Some("SUCCESS")];

/// What a client wants to send.
struct Wish {
    home: usize,
    sender: String,
    recipients: Vec<(String, Option<String>)>,
}

fn wish(world: &World, number: u64) -> Wish {
    let rng = world.rng();
    let setup = &world.setup;
    let home = rng.below(setup.homes as u64) as usize;
    let sender = match rng.below(10) {
        0 => String::new(),
        1 => format!("gone@home{home}.test"),
        _ => format!("user{number}@home{home}.test"),
    };
    let mut recipients = Vec::new();
    for n in 0..rng.between(1, 5) {
        let domain = &setup.domains[rng.below(setup.domains.len() as u64) as usize];
        let local = rng.pick(&LOCAL_PARTS);
        let notify = rng.pick(&WISHES).map(str::to_owned);
        recipients.push((format!("{local}{n}@{}", domain.name), notify));
    }
    Wish { home, sender, recipients }
}

/// Submits one message, as often as it takes.
pub async fn submit(world: Arc<World>, number: u64) {
    let start = world.rng().below(world.setup.safety * 4 / 5);
    let start = match world.setup.limits.as_ref().is_some_and(|limits| limits.rush) {
        true => world.setup.safety / 5 + start % (20 * SECOND),
        false => start,
    };
    world.exec.sleep(start).await;
    let wish = wish(&world, number);
    let mut id = None;
    while !world.books().is_closing(World::org(wish.home)) {
        // An unknown outcome is no failure: what comes next is another message.
        let message = id.unwrap_or_else(|| message(&world, &wish, number));
        let outcome = once(&world, &wish, message).await;
        world.note(format_args!("client {number}: {message} {outcome:?}"));
        match outcome {
            Some(Ok(())) => {
                let now = world.exec.now();
                return world.books().acknowledged(message, now);
            }
            // Who may not send more goes away.
            Some(Err(Error::Refused(Refusal::Quota(quota)))) => {
                world.count("message over its quota");
                let found = world.books().refused(message, quota);
                return found.unwrap_or_else(|why| world.fail(why));
            }
            Some(Err(Error::OutcomeUnknown(_))) | None
                if world.mutant == Some(Mutant::UnknownResubmitted) =>
            {
                id = Some(message);
            }
            _ => {}
        }
        let pause = world.rng().between(1, 60) * SECOND;
        world.exec.sleep(pause).await;
    }
}

/// One try; none when nobody answered.
async fn once(world: &Arc<World>, wish: &Wish, message: MessageId) -> Option<Result<(), Error>> {
    let worker = {
        let nodes = lock(&world.nodes);
        let n = world.rng().below(nodes.len() as u64) as usize;
        nodes.values().nth(n).cloned()
    };
    let Some(worker) = worker else { return Some(Err(Error::Unavailable("nobody is there".into()))) };
    let (answer, answered) = async_channel::bounded(1);
    worker.submit(wish.home, message, jobs(world, wish, message), answer);
    drop(worker);
    let told = async { answered.recv().await.ok() };
    let tired = async {
        world.exec.sleep(120 * SECOND).await;
        None
    };
    future::or(told, tired).await
}

fn message(world: &World, wish: &Wish, number: u64) -> MessageId {
    let id = MessageId(world.id());
    let mut text = format!(
        "From: <{}>\r\nSubject: message {number}\r\nMessage-ID: <{id}@inbox.test>\r\n\r\n.\r\n..two\r\n",
        wish.sender
    );
    for _ in 0..world.rng().below(12) {
        text +=
            &format!("a line of tenant {} with the number {}\r\n", wish.home, world.rng().below(1_000_000));
    }
    let bytes: Arc<[u8]> = text.into_bytes().into();
    lock(&world.objects).insert(id, bytes.clone());
    let message = Message {
        org: World::org(wish.home),
        sender: wish.sender.clone(),
        recipients: wish.recipients.clone(),
        bytes,
        acknowledged: None,
    };
    world.books().message(id, message);
    id
}

/// One job for each destination.
fn jobs(world: &World, wish: &Wish, message: MessageId) -> Vec<NewJob> {
    let now = world.now();
    let size = lock(&world.objects).get(&message).map_or(0, |bytes| bytes.len() as u64);
    let mut jobs: Vec<NewJob> = Vec::new();
    for (address, notify) in &wish.recipients {
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let recipient = JobRecipient {
            address: address.clone(),
            state: RecipientState::Pending,
            notify: notify.clone(),
            orcpt: None,
            reply: None,
            attempts: 0,
            in_doubt: 0,
            delay_notified: false,
        };
        if let Some(job) = jobs.iter_mut().find(|job| job.domain == domain) {
            job.recipients.push(recipient);
            continue;
        }
        jobs.push(NewJob {
            id: JobId(world.id()),
            org: World::org(wish.home),
            message,
            size,
            sender: wish.sender.clone(),
            domain: domain.to_owned(),
            recipients: vec![recipient],
            envid: Some(message.to_string()),
            ret: None,
            eight_bit: false,
            binary: false,
            smtputf8: false,
            require_tls: false,
            is_dsn: false,
            created: now,
            start: now,
            due: now,
            deliver_by: None,
            counted: None,
            logged: false,
            trace: None,
        });
    }
    jobs
}
