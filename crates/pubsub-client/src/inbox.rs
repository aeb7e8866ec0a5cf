//! What the handles want of the connection's task: bounded, and empty of memory while there is nothing.
//!
//! Commands (requests and messages) are refused beyond a bound. Topics that have to be looked at are a set, bounded by
//! the topics there are; they are never refused, so that dropping a subscription cannot fail.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pubsub_protocol::Payload;

use crate::ids::{RequestId, Topic};

/// Something to be sent.
#[derive(Debug)]
pub(crate) enum Command {
    /// A pending request.
    Request(RequestId),
    /// A message that wants no answer.
    Send(Payload),
}

#[derive(Debug)]
pub(crate) struct Inbox {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    commands: VecDeque<Command>,
    touched: BTreeSet<Topic>,
    close: bool,
    /// Something is pending that a timer must be set for, even if nothing can be sent.
    deadline_added: bool,
    task: Option<Waker>,
}

/// What the task finds.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) commands: VecDeque<Command>,
    pub(crate) touched: BTreeSet<Topic>,
    pub(crate) close: bool,
    pub(crate) deadline_added: bool,
}

impl Inbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut Inner)) {
        let task = {
            let mut inner = self.lock();
            change(&mut inner);
            inner.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Queues a command. `Err`: there are `capacity` of them already.
    pub(crate) fn push(&self, command: Command) -> Result<(), usize> {
        let mut refused = false;
        self.tell(|inner| {
            refused = inner.commands.len() >= self.capacity;
            if !refused {
                inner.deadline_added |= matches!(command, Command::Request(_));
                inner.commands.push_back(command);
            }
        });
        if refused { Err(self.capacity) } else { Ok(()) }
    }

    /// Puts requests back in front of the queue, bound or not: they were in it before.
    pub(crate) fn return_to_front(&self, requests: Vec<RequestId>) {
        let mut inner = self.lock();
        for id in requests.into_iter().rev() {
            inner.commands.push_front(Command::Request(id));
        }
    }

    /// Forgets a request that nobody waits for any more: it must not take the place of one that somebody does.
    pub(crate) fn forget(&self, id: &RequestId) {
        self.lock().commands.retain(|command| !matches!(command, Command::Request(queued) if queued == id));
    }

    /// Asks the task to look at a topic.
    pub(crate) fn touch(&self, topic: Topic) {
        self.tell(|inner| {
            inner.touched.insert(topic);
        });
    }

    /// Asks the task to close the connection and end.
    pub(crate) fn close(&self) {
        self.tell(|inner| inner.close = true);
    }

    /// Waits for mail. Commands and topics are left where they are while `ready` is false: nothing can be sent.
    pub(crate) fn poll(&self, cx: &Context<'_>, ready: bool) -> Poll<Mail> {
        let mut inner = self.lock();
        let something = inner.close || inner.deadline_added;
        if !(something || ready && !(inner.commands.is_empty() && inner.touched.is_empty())) {
            if !inner.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                inner.task = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let mut mail = Mail {
            close: std::mem::take(&mut inner.close),
            deadline_added: std::mem::take(&mut inner.deadline_added),
            ..Mail::default()
        };
        if ready {
            mail.commands = std::mem::take(&mut inner.commands);
            mail.touched = std::mem::take(&mut inner.touched);
        }
        Poll::Ready(mail)
    }

    /// Takes the commands that wait, whether or not they could be sent before.
    pub(crate) fn take_commands(&self) -> VecDeque<Command> {
        std::mem::take(&mut self.lock().commands)
    }

    /// Commands that wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().commands.len()
    }

    /// Drops all that waits; for the end.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        inner.commands = VecDeque::new();
        inner.touched = BTreeSet::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u64) -> Command {
        Command::Request(RequestId::from(number))
    }

    fn poll(inbox: &Inbox, ready: bool) -> Poll<Mail> {
        inbox.poll(&Context::from_waker(Waker::noop()), ready)
    }

    fn ids(mail: &Mail) -> Vec<String> {
        mail.commands
            .iter()
            .map(|command| match command {
                Command::Request(id) => id.to_string(),
                Command::Send(data) => format!("{data:?}"),
            })
            .collect()
    }

    #[test]
    fn commands_wait_until_they_can_be_sent_and_are_refused_beyond_the_bound() {
        let inbox = Inbox::new(2);
        inbox.push(request(1)).unwrap();
        inbox.push(request(2)).unwrap();
        assert_eq!(inbox.push(request(3)), Err(2));
        let Poll::Ready(mail) = poll(&inbox, false) else { panic!("the new deadline was not told") };
        assert!(mail.deadline_added && mail.commands.is_empty());
        assert!(poll(&inbox, false).is_pending());
        inbox.touch(Topic::from("b"));
        inbox.touch(Topic::from("a"));
        inbox.touch(Topic::from("b"));
        assert!(poll(&inbox, false).is_pending());
        let Poll::Ready(mail) = poll(&inbox, true) else { panic!("nothing came") };
        assert_eq!(ids(&mail), ["1", "2"]);
        assert_eq!(mail.touched.into_iter().collect::<Vec<_>>(), [Topic::from("a"), Topic::from("b")]);
        assert!(poll(&inbox, true).is_pending());
    }

    #[test]
    fn what_is_sent_again_comes_first() {
        let inbox = Inbox::new(1);
        inbox.push(request(9)).unwrap();
        inbox.return_to_front(vec![RequestId::from(1), RequestId::from(2)]);
        let Poll::Ready(mail) = poll(&inbox, true) else { panic!("nothing came") };
        assert_eq!(ids(&mail), ["1", "2", "9"]);
    }

    #[test]
    fn closing_is_heard_at_any_time() {
        let inbox = Inbox::new(1);
        inbox.close();
        assert!(matches!(poll(&inbox, false), Poll::Ready(Mail { close: true, .. })));
    }
}
