//! Clients and their connections to the nodes: what a client wants done, the requests that reach a broker, and the
//! answers, which leave a connection in the order of its requests.

use std::collections::{BTreeMap, VecDeque};

use varve_core::effect::RequestId;
use varve_core::ids::TopicPartition;
use varve_core::input::{ClientRequest, ConnectionId, Input, RequestContext};
use varve_core::record::{Depth, Limits, examine};
use varve_core::wire::{Request, Response};

use crate::checkers::Violation;
use crate::client::{Call, Client, ClientAction, Producer, Work};
use crate::cluster::{Cluster, Event, Payload, WALL_START_MS, network_events};
use crate::history::Value;
use crate::network::{Connection, Place, Way};
use crate::node::ClientConnection;

impl Cluster {
    /// Adds a client that uses these topics, and wakes it.
    pub fn add_client(&mut self, topics: &[&str], work: impl Work) -> u8 {
        let client = self.make_client(topics, work);
        self.admit(client)
    }

    /// Adds a client that reaches only this node, and wakes it.
    pub fn add_client_of(&mut self, node: u8, topics: &[&str], work: impl Work) -> u8 {
        let client = self.make_client(topics, work).that_reaches_only(node);
        self.admit(client)
    }

    fn make_client(&self, topics: &[&str], work: impl Work) -> Client {
        let number = u8::try_from(self.clients.len() + 1).expect("a run has few clients");
        Client::new(
            number,
            self.options.nodes,
            topics,
            Box::new(work),
            self.draws.clone(),
            WALL_START_MS,
        )
    }

    fn admit(&mut self, client: Client) -> u8 {
        let number = client.network.number;
        self.clients.push(client);
        self.client_wakes.push(None);
        self.pump_client(number);
        number
    }

    /// A client does what it can do now.
    pub fn pump_client(&mut self, number: u8) {
        let now = self.now();
        let place = usize::from(number) - 1;
        let mut actions = Vec::new();
        let wake = self.clients[place].pump(now, &mut self.history, &mut actions);
        self.do_actions(number, actions);
        if let Some(at) = wake
            && self.client_wakes[place].is_none_or(|known| at < known || known <= now)
        {
            self.client_wakes[place] = Some(at);
            self.queue.at(at, Event::Wake { client: number, at });
        }
        if let Some(violation) = self.history.take_violation() {
            self.fail(violation);
        }
    }

    /// Queues a batch for a producer and sends it if that can be done.
    pub fn produce(&mut self, client: u8, partition: TopicPartition, records: u64) -> Vec<Value> {
        let now = self.now();
        let place = usize::from(client) - 1;
        let wall = self.clients[place].network.wall(now);
        let producer: &mut Producer = self.clients[place].work_mut();
        let values = producer.queue_batch(client, partition, records, wall, &mut self.history);
        self.pump_client(client);
        values
    }

    /// Does on the network what a client asks for.
    fn do_actions(&mut self, client: u8, actions: Vec<ClientAction>) {
        let now = self.now();
        for action in actions {
            match action {
                ClientAction::Dial(node) => {
                    let connection = self.network.dial(
                        now,
                        Place::Client(client),
                        Place::Node(node),
                        &mut network_events(&mut self.queue),
                    );
                    self.client_links.insert((client, node), connection);
                }
                ClientAction::Send(node, call) => {
                    if let Some(&connection) = self.client_links.get(&(client, node)) {
                        self.send(connection, Way::Forth, Payload::Request(call));
                    }
                }
                ClientAction::Close(node) => {
                    if let Some(connection) = self.client_links.remove(&(client, node)) {
                        self.close(connection, Place::Client(client));
                    }
                }
            }
        }
    }

    /// A client's dial has reached a node.
    pub(super) fn on_client_connected(&mut self, client: u8, node: u8, connection: Connection) {
        if let Some(process) = &mut self.node_mut(node).process {
            process.last_connection += 1;
            let id = ConnectionId(process.last_connection);
            process.client_ids.insert(connection, id);
            process.clients.insert(
                id,
                ClientConnection {
                    connection,
                    answers: VecDeque::new(),
                    requests: 0,
                    numbers: BTreeMap::new(),
                },
            );
        }
        if self.client_links.get(&(client, node)) == Some(&connection) {
            self.client_mut(client).network.on_connected(node);
            self.pump_client(client);
        }
    }

    /// An answer reaches a client.
    pub(super) fn on_response(
        &mut self,
        client: u8,
        node: u8,
        connection: Connection,
        call: u64,
        response: Response,
    ) {
        if self.client_links.get(&(client, node)) != Some(&connection) {
            return;
        }
        let now = self.now();
        let place = usize::from(client) - 1;
        self.clients[place].on_response(now, node, call, response, &mut self.history);
        self.pump_client(client);
    }

    /// A client learns that its connection, or its dial, has failed.
    pub(super) fn client_lost(&mut self, client: u8, node: u8, connection: Connection) {
        let now = self.now();
        if self.client_links.get(&(client, node)) != Some(&connection) {
            return;
        }
        self.client_links.remove(&(client, node));
        self.client_mut(client).on_broken(now, node);
        self.pump_client(client);
    }

    /// A request reaches a node: its batches are examined, and its broker is told.
    pub(super) fn on_request(&mut self, number: u8, connection: Connection, call: Call) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let Some(&id) = process.client_ids.get(&connection) else {
            return;
        };
        let Some(client) = process.clients.get_mut(&id) else {
            return;
        };
        client.requests += 1;
        let request = RequestId {
            connection: id,
            number: client.requests,
        };
        let Call {
            number: call_number,
            api_version,
            mut body,
        } = call;
        let mut examined = Vec::new();
        if let Request::Produce(produce) = &mut body {
            for data in produce
                .topic_data
                .iter_mut()
                .flat_map(|topic| &mut topic.partition_data)
            {
                let bytes = data.records.take().unwrap_or_default().to_bytes();
                examined.push(examine(
                    bytes,
                    api_version,
                    Depth::default(),
                    Limits::default(),
                ));
            }
        }
        client.numbers.insert(request.number, call_number);
        let wall = self.node(number).clock.wall(self.now());
        self.checkers.on_arrival(number, request, wall);
        let request = ClientRequest {
            context: RequestContext {
                id: request,
                api_version,
                client_id: Some(format!("{}", connection.from)),
                client_host: format!("{}.hosts", connection.from),
                listener: 0,
            },
            body,
            examined,
        };
        self.tell(number, Input::Request(Box::new(request)));
    }

    /// A node's broker has taken a request, which it owes an answer. What its process has not read by then, or has read
    /// when its time to stop was over, it was not asked: the client finds its connection closed.
    pub(super) fn asked(&mut self, number: u8, request: RequestId) {
        if let Some(process) = &mut self.node_mut(number).process
            && let Some(client) = process.clients.get_mut(&request.connection)
        {
            let call_number = client.numbers[&request.number];
            client.answers.push_back((call_number, None));
        }
    }

    /// The node's broker closes a client's connection.
    pub(super) fn close_client(&mut self, number: u8, id: ConnectionId) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        if let Some(client) = process.clients.remove(&id) {
            process.client_ids.remove(&client.connection);
            self.close(client.connection, Place::Node(number));
        }
    }

    /// A node learns that a connection is broken which somebody else had dialled.
    pub(super) fn on_incoming_broken(&mut self, number: u8, connection: Connection) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        process.hellos.retain(|_, (hello, ..)| *hello != connection);
        let peer = process.incoming.remove(&connection);
        if let Some((from, session)) = peer {
            self.tell(number, Input::SessionClosed { from, session });
            return;
        }
        if let Some(id) = process.client_ids.remove(&connection) {
            process.clients.remove(&id);
            self.tell(number, Input::Disconnected(id));
            self.close_idle_clients(number);
        }
    }

    /// The node's broker answers a request.
    pub(super) fn respond(&mut self, number: u8, request: RequestId, response: Box<Response>) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let Some(client) = process.clients.get_mut(&request.connection) else {
            return;
        };
        let Some(call) = client.numbers.remove(&request.number) else {
            self.fail(Violation {
                checker: "EveryRequestIsAnsweredOnce",
                what: format!("n{number} answers a request that it was not asked"),
            });
            return;
        };
        let connection = client.connection;
        for (call, response) in client.answer(call, response) {
            self.send(connection, Way::Back, Payload::Response(call, response));
        }
        self.close_idle_clients(number);
    }

    /// The node's broker lets its clients go.
    pub(super) fn close_clients(&mut self, number: u8) {
        if let Some(process) = &mut self.node_mut(number).process {
            process.closing_clients = true;
        }
        self.close_idle_clients(number);
    }

    /// Closes the connections of a node that lets its clients go, but for those on which something is asked.
    fn close_idle_clients(&mut self, number: u8) {
        let Some(process) = &self.node(number).process else {
            return;
        };
        if !process.closing_clients {
            return;
        }
        let run = process.run;
        let clients = process.clients.iter();
        let idle: Vec<ConnectionId> = clients
            .filter(|(_, client)| client.answers.is_empty())
            .map(|(&id, _)| id)
            .collect();
        for id in idle {
            self.close_client(number, id);
        }
        let process = self.node(number).process.as_ref();
        if process.is_some_and(|process| process.clients.is_empty()) {
            let now = self.now();
            self.queue
                .at(now, Event::ClientsClosed { node: number, run });
        }
    }
}
