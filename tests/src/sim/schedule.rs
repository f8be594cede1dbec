//! From a seed to bounds and a list of events. Each event stands for itself, so that any of them can be left out.

use super::apps::{Args, Call};
use super::source::Bounds;
use super::world::Event;
use crate::seed::Random;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Bounds.
    pub bounds: Bounds,
    /// Events, in order.
    pub events: Vec<Event>,
}

/// What a run is mostly about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    Anything,
    Bypass,
    Overflow,
    Mirror,
    Links,
    Staging,
    /// Few names, so that what happens meets.
    Small,
    /// More than may be remembered, in several directories.
    Heavy,
}

const FLAVOURS: [Flavour; 9] = [
    Flavour::Anything,
    Flavour::Bypass,
    Flavour::Overflow,
    Flavour::Mirror,
    Flavour::Links,
    Flavour::Staging,
    Flavour::Small,
    Flavour::Small,
    Flavour::Heavy,
];

/// Calls of applications, and how often they come.
const CALLS: [(Call, u64); 16] = [
    (Call::Create, 12),
    (Call::Mkdir, 8),
    (Call::Write, 12),
    (Call::Truncate, 4),
    (Call::Chmod, 4),
    (Call::Unlink, 7),
    (Call::Rmdir, 5),
    (Call::Rename, 22),
    (Call::Exchange, 5),
    (Call::Link, 8),
    (Call::Open, 3),
    (Call::WriteOpen, 4),
    (Call::LinkOpen, 2),
    (Call::Close, 3),
    (Call::Forget, 10),
    (Call::Hit, 20),
];

fn number(random: &mut Random) -> u32 {
    u32::try_from(random.below(1 << 16)).unwrap_or(0)
}

fn pick<T: Copy>(random: &mut Random, from: &[(T, u64)]) -> T {
    let mut left = random.below(from.iter().map(|(_, weight)| weight).sum());
    for (what, weight) in from {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return *what,
        }
    }
    from[0].0
}

/// A call with arguments.
fn call(random: &mut Random, flavour: Flavour) -> Event {
    let mut call = pick(random, &CALLS);
    if flavour == Flavour::Links && random.once_in(4) {
        call = *random.pick(&[Call::Link, Call::Forget, Call::LinkOpen, Call::Open, Call::Unlink]);
    }
    if flavour == Flavour::Staging && random.once_in(3) {
        call = *random.pick(&[Call::Write, Call::Create]);
    }
    if flavour == Flavour::Small {
        if call == Call::Mkdir && !random.once_in(4) {
            call = *random.pick(&[Call::Write, Call::Rename, Call::Truncate]);
        }
        let few = |random: &mut Random| u32::try_from(random.below(3)).unwrap_or(0);
        return Event::App(call, Args(few(random), few(random), number(random)));
    }
    Event::App(call, Args(number(random), number(random), number(random)))
}

fn progress(random: &mut Random, slow: u64) -> Event {
    let which = random.below(8);
    match if which == slow { 4 + random.below(4) } else { which } {
        0 => Event::Deliver(1 + u32::try_from(random.below(4)).unwrap_or(0)),
        1 => Event::Ack,
        2 => Event::Lane(number(random)),
        3 => Event::Begin,
        _ => Event::Work(number(random)),
    }
}

fn fault(random: &mut Random) -> Event {
    match random.below(12) {
        0..3 => Event::Cut,
        3..6 => Event::Connect,
        6 => Event::Bypass(true),
        7..9 => Event::Bypass(false),
        9 => Event::RestartTarget,
        10 => Event::LoseTarget(number(random)),
        _ => Event::RestartSource,
    }
}

/// Applications and replication beside each other, with an interruption now and then.
fn mixed(random: &mut Random, flavour: Flavour, events: &mut Vec<Event>) {
    // Something may lag behind: the target, acknowledgements, content.
    let slow = random.below(6);
    for _ in 0..5 + random.below(50) {
        let slow = if random.once_in(8) { 8 } else { slow };
        if random.once_in(40) {
            events.extend([Event::Cut, Event::Connect, Event::Begin]);
        }
        let event = match random.below(10) {
            0 | 1 => call(random, flavour),
            2 => Event::App(Call::Hit, Args(number(random), number(random), number(random))),
            _ => progress(random, slow),
        };
        events.push(event);
    }
}

fn calls(random: &mut Random, flavour: Flavour, most: u64, events: &mut Vec<Event>) {
    for _ in 0..=random.below(most) {
        events.push(call(random, flavour));
    }
}

/// A few events that belong together.
fn scene(random: &mut Random, flavour: Flavour, queue: usize, events: &mut Vec<Event>) {
    let scenes: &[(u32, u64)] = match flavour {
        Flavour::Anything => &[(0, 2), (1, 2), (2, 2), (3, 1), (4, 4), (5, 2)],
        Flavour::Small => &[(0, 1), (1, 3), (2, 3), (3, 1), (4, 1), (5, 1)],
        Flavour::Bypass => &[(0, 1), (1, 6), (4, 1), (5, 2)],
        Flavour::Links => &[(0, 1), (1, 6), (4, 1), (5, 2), (6, 3)],
        Flavour::Heavy => &[(0, 1), (4, 1), (5, 1), (7, 5)],
        Flavour::Overflow => &[(0, 1), (3, 5), (4, 1), (5, 2), (8, 6)],
        Flavour::Mirror | Flavour::Staging => &[(0, 1), (1, 1), (2, 5), (4, 1), (5, 1)],
    };
    match pick(random, scenes) {
        0 => calls(random, flavour, 12, events),
        1 => {
            events.push(Event::Bypass(true));
            calls(random, flavour, 20, events);
            events.extend([Event::Bypass(false), Event::Connect, Event::Begin]);
            mixed(random, flavour, events);
        }
        2 => {
            events.push(if random.once_in(4) { Event::RestartSource } else { Event::LoseTarget(number(random)) });
            calls(random, flavour, 6, events);
            events.extend([Event::Bypass(false), Event::Connect, Event::Begin]);
            mixed(random, flavour, events);
        }
        3 => {
            events.push(Event::Cut);
            calls(random, flavour, queue.min(40) as u64 + 8, events);
            events.extend([Event::Connect, Event::Begin]);
            mixed(random, flavour, events);
        }
        4 => {
            for _ in 0..random.below(10) {
                let event = match random.below(5) {
                    0 => fault(random),
                    1 | 2 => call(random, flavour),
                    _ => progress(random, 8),
                };
                events.push(event);
            }
        }
        5 => events.extend([Event::Connect, Event::Bypass(false), Event::Run(2000)]),
        7 => heavy(random, flavour, events),
        8 => away(random, flavour, queue, events),
        _ => nameless(random, flavour, events),
    }
}

/// From a state that is the same on both sides much is changed while nothing is sent.
fn heavy(random: &mut Random, flavour: Flavour, events: &mut Vec<Event>) {
    events.extend([Event::Connect, Event::Bypass(false)]);
    for _ in 0..4 {
        events.push(Event::App(Call::Mkdir, Args(number(random), number(random), number(random))));
    }
    events.extend([Event::Run(2000), Event::Bypass(true)]);
    for _ in 0..10 {
        events.push(call(random, flavour));
    }
    calls(random, flavour, 40, events);
    events.extend([Event::Bypass(false), Event::Connect, Event::Begin]);
    mixed(random, flavour, events);
}

/// From a state that is the same on both sides more is changed than is queued, while the target is away with some of it in hand.
fn away(random: &mut Random, flavour: Flavour, queue: usize, events: &mut Vec<Event>) {
    events.extend([Event::Connect, Event::Bypass(false), Event::Run(2000)]);
    calls(random, flavour, 4, events);
    if random.once_in(2) {
        events.push(Event::Deliver(1 + u32::try_from(random.below(4)).unwrap_or(0)));
    }
    events.push(Event::Cut);
    for _ in 0..queue {
        events.push(call(random, flavour));
    }
    calls(random, flavour, 16, events);
    events.extend([Event::Connect, Event::Begin]);
    mixed(random, flavour, events);
}

/// A file is left open without a known name, and others that are not known.
fn nameless(random: &mut Random, flavour: Flavour, events: &mut Vec<Event>) {
    let file = number(random);
    let on = |call, random: &mut Random| Event::App(call, Args(file, number(random), number(random)));
    events.push(on(Call::Link, random));
    if random.once_in(2) {
        events.extend([Event::Connect, Event::Bypass(false), Event::Run(2000)]);
    }
    for _ in 0..12 {
        events.push(Event::App(Call::Forget, Args(number(random), 0, 0)));
    }
    events.push(on(Call::Open, random));
    if random.once_in(2) {
        events.push(Event::Bypass(true));
    }
    events.push(on(Call::Unlink, random));
    if random.once_in(2) {
        events.push(Event::Bypass(true));
    }
    for call in [Call::WriteOpen, Call::LinkOpen, Call::WriteOpen] {
        if random.once_in(2) {
            events.push(on(call, random));
        }
    }
    if random.once_in(2) {
        calls(random, flavour, 4, events);
    }
    events.extend([Event::Bypass(false), Event::Connect, Event::Begin]);
    mixed(random, flavour, events);
}

impl Schedule {
    /// The schedule of a seed, of about so many events.
    pub fn of(seed: u64, steps: usize) -> Self {
        let mut random = Random::new(seed);
        for _ in 0..4 {
            random.bits();
        }
        let flavour = *random.pick(&FLAVOURS);
        let bounds = Bounds {
            queue: if flavour == Flavour::Overflow {
                *random.pick(&[6, 12, 24])
            } else {
                *random.pick(&[24, 200, 1000])
            },
            held: if flavour == Flavour::Heavy {
                *random.pick(&[6, 9, 12, 16, 24])
            } else {
                *random.pick(&[6, 60, 1000, 1000])
            },
            workers: *random.pick(&[1, 2, 4]),
            staged: if flavour == Flavour::Staging { 1 } else { *random.pick(&[2, 4, 100, 100]) },
        };
        let mut events = Vec::new();
        for _ in 0..random.below(20) {
            events.push(call(&mut random, flavour));
        }
        events.push(Event::Run(2000));
        while events.len() < steps {
            scene(&mut random, flavour, bounds.queue, &mut events);
        }
        Self { bounds, events }
    }
}
