//! Moves bytes between the stream underneath and the lines, as far as faults let them.

use std::future::Future as _;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake as _, Waker};

use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::{Parts, SEND_BYTES, WriteEnd};
use crate::fault::carrier::Carrier;
use crate::fault::lane::{Blow, Front};
use crate::fault::plan::Direction;

/// Bytes read from the stream underneath at once.
pub(super) const READ_BYTES: usize = 16 << 10;
/// Reads or writes in one poll, so that a fast peer does not keep the task from everything else.
const TURNS_MAX: usize = 32;

impl<S: Carrier> Parts<S> {
    /// Moves whatever can move, both ways, and sets the timer for the rest.
    pub(super) fn pump(&mut self) {
        let now = Instant::now();
        let Some(machine) = &mut self.machine else { return };
        machine.wake_at = None;
        let (was_empty, was_full) =
            (machine.incoming.lane.is_empty(), machine.outgoing.lane.room(now, SEND_BYTES) == 0);
        self.pump_in(now);
        self.pump_out(now);
        let Some(machine) = &mut self.machine else { return };
        self.faults.note_peak(machine.incoming.lane.peak().max(machine.outgoing.lane.peak()));
        if machine.stale {
            // Its moment has come on this connection: begin what waited for it, on the next poll, which comes at once.
            self.link.wake_by_ref();
        }
        if was_empty && !machine.incoming.lane.is_empty() {
            self.link.read.wake();
        }
        if was_full && machine.outgoing.lane.room(now, SEND_BYTES) > 0 {
            self.link.write.wake();
        }
        self.set_timer(now);
    }

    pub(super) fn pump_in(&mut self, now: Instant) {
        let waker = Waker::from(Arc::clone(&self.link));
        let cx = &mut Context::from_waker(&waker);
        let Some(machine) = &mut self.machine else { return };
        let mut scratch = [MaybeUninit::<u8>::uninit(); READ_BYTES];
        for turn in 0.. {
            let Some(inner) = &mut self.inner else { return };
            if machine.input_over || (!machine.discards && machine.incoming.is_closed()) {
                return;
            }
            if turn == TURNS_MAX {
                self.link.wake_by_ref();
                return;
            }
            let want = if machine.discards { READ_BYTES } else { machine.incoming.lane.room(now, 0).min(READ_BYTES) };
            let Some(want) = machine.incoming.allow(now, want, &mut machine.wake_at) else { return };
            let mut buf = ReadBuf::uninit(&mut scratch[..want]);
            match Pin::new(inner).poll_read(cx, &mut buf) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => {
                    machine.input_over = true;
                    if !machine.discards {
                        machine.incoming.blow(now, Blow::Failed(error));
                        machine.incoming.end(now);
                    }
                }
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    machine.input_over = true;
                    if !machine.discards {
                        machine.incoming.end(now);
                    }
                }
                Poll::Ready(Ok(())) => {
                    let bytes = buf.filled();
                    machine.incoming.passed(bytes.len());
                    if !machine.discards {
                        let astray = machine.incoming.intake(now, bytes, &self.link, &mut machine.stale);
                        for frame in astray {
                            self.faults.stray(&self.link, frame);
                        }
                    }
                }
            }
        }
    }

    fn pump_out(&mut self, now: Instant) {
        let waker = Waker::from(Arc::clone(&self.link));
        let cx = &mut Context::from_waker(&waker);
        for turn in 0.. {
            let (Some(machine), Some(inner)) = (&mut self.machine, &mut self.inner) else { return };
            if turn == TURNS_MAX {
                // Both: the writer may have finished long ago, and then it is the reader's polls that drive the line.
                self.link.wake_by_ref();
                return;
            }
            let ready = match machine.outgoing.lane.front(now) {
                Front::Empty | Front::Blow(Blow::Stall(_)) => return,
                Front::NotBefore(at) => {
                    sooner(&mut machine.wake_at, at);
                    return;
                }
                Front::Bytes(bytes) => bytes.len(),
                Front::Blow(_) if machine.outgoing.carries() => 0,
                Front::Blow(_) => return,
            };
            if ready > 0 {
                let Some(count) = machine.outgoing.allow(now, ready, &mut machine.wake_at) else { return };
                let Front::Bytes(bytes) = machine.outgoing.lane.front(now) else { return };
                match Pin::new(inner).poll_write(cx, &bytes[..count]) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(count)) => {
                        machine.outgoing.lane.advance(count);
                        machine.outgoing.passed(count);
                        machine.outgoing.felt.moved();
                    }
                    Poll::Ready(Err(_)) => {
                        // The peer is gone: the reader hears of it by itself, the writer on its next write.
                        machine.outgoing.lane.clear();
                        machine.write_end = WriteEnd::Broken;
                        return;
                    }
                }
                continue;
            }
            match machine.outgoing.lane.pop_blow() {
                Some(Blow::Reset) => {
                    self.reset(now);
                    return;
                }
                Some(blow @ (Blow::End | Blow::Fin { .. })) => {
                    if Pin::new(inner).poll_shutdown(cx).is_pending() {
                        machine.outgoing.lane.push_blow(now, blow);
                        return;
                    }
                    machine.outgoing.lane.clear();
                    if let Blow::Fin { both } = blow {
                        machine.write_end = WriteEnd::Cut;
                        if both {
                            self.fin(Direction::In, now);
                        }
                    }
                    return;
                }
                Some(Blow::Stall(_) | Blow::Failed(_)) | None => return,
            }
        }
    }

    fn set_timer(&mut self, now: Instant) {
        let waker = Waker::from(Arc::clone(&self.link));
        let cx = &mut Context::from_waker(&waker);
        let Some(machine) = &mut self.machine else { return };
        if let Front::NotBefore(at) = machine.incoming.lane.front(now) {
            sooner(&mut machine.wake_at, at);
        }
        let Some(at) = machine.wake_at else { return };
        let timer = machine.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        if timer.as_mut().poll(cx).is_ready() {
            self.link.wake_by_ref();
        }
    }
}

pub(super) fn sooner(wake_at: &mut Option<Instant>, at: Instant) {
    *wake_at = Some(wake_at.map_or(at, |set| set.min(at)));
}
