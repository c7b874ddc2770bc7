use super::*;
use crate::clock::EventQueue;

const A: Place = Place::Node(1);
const B: Place = Place::Node(2);

struct Bench {
    network: Network<u32>,
    queue: EventQueue<NetworkEvent>,
    seen: Vec<(SimTime, Happening<u32>)>,
}

impl Bench {
    fn new(seed: u64, options: NetworkOptions) -> Self {
        let mut network = Network::new(Draws::new(seed), options);
        network.set_listening(A, Listening::Yes);
        network.set_listening(B, Listening::Yes);
        Self {
            network,
            queue: EventQueue::default(),
            seen: Vec::new(),
        }
    }

    fn connected(seed: u64) -> (Self, Connection) {
        let mut bench = Self::new(seed, NetworkOptions::default());
        let connection = bench.with(|network, now, schedule| network.dial(now, A, B, schedule));
        bench.run();
        assert_eq!(
            bench.seen.pop().unwrap().1,
            Happening::Connected(connection)
        );
        (bench, connection)
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Network<u32>, SimTime, Schedule<'_>) -> T) -> T {
        let now = self.queue.now();
        let queue = &mut self.queue;
        act(&mut self.network, now, &mut |at, event| queue.at(at, event))
    }

    fn send(&mut self, connection: Connection, n: u32) -> Sent {
        self.with(|network, now, schedule| network.send(now, connection, Way::Forth, n, schedule))
    }

    fn run_until(&mut self, end: SimTime) {
        while self.queue.next_at().is_some_and(|at| at <= end) {
            let event = self.queue.pop().unwrap();
            let mut happenings = Vec::new();
            self.with(|network, now, schedule| {
                network.on_event(now, event, schedule, &mut happenings);
            });
            let now = self.queue.now();
            self.seen
                .extend(happenings.into_iter().map(|what| (now, what)));
        }
    }

    fn run(&mut self) {
        self.run_until(SimTime(u64::MAX - 1));
    }

    fn arrived(&self) -> Vec<u32> {
        let arrived = |(_, what): &(SimTime, Happening<u32>)| match what {
            Happening::Arrived { payload, .. } => Some(*payload),
            Happening::Connected(_)
            | Happening::DialFailed { .. }
            | Happening::Broken(..)
            | Happening::Lost { .. } => None,
        };
        self.seen.iter().filter_map(arrived).collect()
    }
}

#[test]
fn a_connection_delivers_everything_in_order() {
    let (mut bench, connection) = Bench::connected(1);
    for n in 0..50 {
        assert_eq!(bench.send(connection, n), Sent::UnderWay);
    }
    bench.run();
    assert_eq!(bench.arrived(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_reset_loses_a_suffix_and_tells_both_ends() {
    let mut lengths = BTreeSet::new();
    for seed in 0..50 {
        let (mut bench, connection) = Bench::connected(seed);
        for n in 0..5 {
            bench.send(connection, n);
        }
        bench.with(|network, now, schedule| network.reset(now, connection, schedule));
        assert_eq!(bench.send(connection, 9), Sent::Nowhere);
        bench.run();
        let arrived = bench.arrived();
        let count = u32::try_from(arrived.len()).unwrap();
        assert_eq!(arrived, (0..count).collect::<Vec<_>>(), "a prefix");
        lengths.insert(count);
        for place in [A, B] {
            let told = bench
                .seen
                .iter()
                .filter(|(_, what)| *what == Happening::Broken(connection, place));
            assert_eq!(told.count(), 1);
        }
        let is_lost = |what: &Happening<u32>| matches!(what, Happening::Lost { .. });
        let lost = bench.seen.iter().filter(|(_, what)| is_lost(what)).count();
        assert_eq!(arrived.len() + lost, 5, "nothing disappears untold");
    }
    assert!(lengths.len() > 2, "{lengths:?}");
}

#[test]
fn a_short_block_makes_messages_late_and_a_long_one_breaks_the_connection() {
    let (mut bench, connection) = Bench::connected(2);
    bench.network.block(A, B);
    assert_eq!(bench.send(connection, 1), Sent::Held);
    bench.run_until(SimTime(500_000));
    assert_eq!(bench.arrived(), []);
    bench.queue.advance_to(SimTime(500_000));
    bench.with(|network, now, schedule| network.unblock(now, A, B, schedule));
    bench.run_until(SimTime(600_000));
    assert!(matches!(
        bench.seen[..],
        [(
            _,
            Happening::Arrived {
                late: true,
                payload: 1,
                ..
            }
        )]
    ));
    bench.network.block(A, B);
    bench.send(connection, 2);
    bench.run();
    assert_eq!(bench.arrived(), [1]);
    assert!(
        bench
            .seen
            .iter()
            .any(|(_, what)| *what == Happening::Broken(connection, A))
    );
    assert!(!bench.network.is_up(connection));
}

#[test]
fn one_way_blocks_leave_the_other_way_open() {
    let (mut bench, connection) = Bench::connected(3);
    bench.network.block(A, B);
    bench.with(|network, now, schedule| network.send(now, connection, Way::Back, 7, schedule));
    bench.send(connection, 8);
    bench.run_until(SimTime(100_000));
    assert_eq!(bench.arrived(), [7]);
}

#[test]
fn a_dial_is_answered_by_whoever_listens_when_it_arrives() {
    let mut bench = Bench::new(5, NetworkOptions::default());
    let connection = bench.with(|network, now, schedule| network.dial(now, A, B, schedule));
    let mut happenings = Vec::new();
    bench.with(|network, now, schedule| {
        network.died(now, B, true, schedule, &mut happenings);
    });
    bench.network.set_listening(B, Listening::Yes);
    bench.run();
    assert_eq!(bench.send(connection, 1), Sent::UnderWay);
    bench.run();
    assert_eq!(bench.arrived(), [1]);
}

#[test]
fn a_dead_process_refuses_and_a_dead_machine_is_silent() {
    for machine_up in [true, false] {
        let (mut bench, connection) = Bench::connected(4);
        let died = bench.queue.now();
        let mut happenings = Vec::new();
        bench.with(|network, now, schedule| {
            network.died(now, B, machine_up, schedule, &mut happenings);
        });
        bench.run();
        let (told, _) = bench
            .seen
            .iter()
            .find(|(_, what)| *what == Happening::Broken(connection, A))
            .unwrap();
        assert_eq!(told.since(died) < Duration::from_millis(100), machine_up);
        let again = bench.with(|network, now, schedule| network.dial(now, A, B, schedule));
        let dialled = bench.queue.now();
        bench.run();
        let (failed, what) = bench.seen.last().unwrap();
        let outcome = Happening::DialFailed {
            connection: again,
            refused: machine_up,
        };
        assert_eq!(*what, outcome);
        assert_eq!(
            failed.since(dialled) < Duration::from_millis(100),
            machine_up
        );
    }
}
