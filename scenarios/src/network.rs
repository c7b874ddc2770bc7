//! The network: cuts, resets and delays.

use crate::{Client, Scenario, Side};
use std::time::Duration;
use varve_sim::network::{NetworkOptions, Place};
use varve_sim::node::show_nodes;

impl Scenario {
    /// Nothing gets from one side to the other any more, either way.
    pub fn cut(&mut self, one: impl Into<Side>, other: impl Into<Side>) {
        let (one, other) = self.sides(&one.into(), &other.into());
        self.told(format!("cut {} | {}", show_nodes(&one), show_nodes(&other)));
        self.block(&one, &other);
        self.block(&other, &one);
    }

    /// Nothing gets from the one side to the other any more; the other way stays open.
    pub fn cut_one_way(&mut self, from: impl Into<Side>, to: impl Into<Side>) {
        let (from, to) = self.sides(&from.into(), &to.into());
        self.told(format!("cut {} -> {}", show_nodes(&from), show_nodes(&to)));
        self.block(&from, &to);
    }

    /// The node in the middle is connected with these nodes, and nobody is with anybody else: with a majority of
    /// the voters on the star, nobody but the middle can be elected.
    pub fn connect_only(&mut self, middle: u8, rays: &[u8]) {
        self.told(format!("connect only n{middle} with {}", show_nodes(rays)));
        self.cluster_mut().unblock_all();
        let nodes = self.options.nodes;
        for one in 1..=nodes {
            for other in (1..=nodes).filter(|&other| other != one) {
                let on_star = |a, b: u8| a == middle && rays.contains(&b);
                if !on_star(one, other) && !on_star(other, one) {
                    self.block(&[one], &[other]);
                }
            }
        }
    }

    /// A client and a node do not reach each other any more.
    pub fn cut_client(&mut self, client: &Client, node: u8) {
        self.told(format!("cut c{} | n{node}", client.0));
        let (client, node) = (Place::Client(client.0), Place::Node(node));
        self.cluster_mut().block(client, node);
        self.cluster_mut().block(node, client);
    }

    /// A client reaches no node any more.
    pub fn cut_client_off(&mut self, client: &Client) {
        for node in 1..=self.options.nodes {
            self.cut_client(client, node);
        }
    }

    /// What the node answers does not reach the client any more; what the client asks arrives.
    pub fn cut_answers(&mut self, node: u8, client: &Client) {
        self.told(format!("cut n{node} -> c{}", client.0));
        let (node, client) = (Place::Node(node), Place::Client(client.0));
        self.cluster_mut().block(node, client);
    }

    /// The connection between a client and a node breaks; another can be made.
    pub fn reset_client(&mut self, client: &Client, node: u8) {
        self.told(format!("reset c{} - n{node}", client.0));
        let (client, node) = (Place::Client(client.0), Place::Node(node));
        self.cluster_mut().reset_between(client, node);
    }

    /// All connections between two nodes break, with everything under way on them; others can be made.
    pub fn reset(&mut self, one: u8, other: u8) {
        self.told(format!("reset n{one} - n{other}"));
        let (one, other) = (Place::Node(one), Place::Node(other));
        self.cluster_mut().reset_between(one, other);
    }

    /// The node's machine refuses new connections, though its process runs; those that there are stay.
    pub fn refuse_dials(&mut self, node: u8) {
        self.told(format!("n{node} refuses new connections"));
        self.cluster_mut().set_refusing(node, true);
    }

    /// From now on every message takes this long.
    pub fn messages_take(&mut self, length: Duration) {
        self.told(format!("messages take {}ms", length.as_millis()));
        self.cluster_mut().set_network_options(NetworkOptions {
            delay_min: length,
            delay_mean: Duration::ZERO,
            ..NetworkOptions::default()
        });
    }

    /// What was cut from one node to another gets there again, in its order.
    pub fn mend_one_way(&mut self, from: u8, to: u8) {
        self.told(format!("mend {{n{from}}} -> {{n{to}}}"));
        let (from, to) = (Place::Node(from), Place::Node(to));
        self.cluster_mut().unblock(from, to);
    }

    /// Everybody reaches everybody again.
    pub fn heal(&mut self) {
        self.told("heal".to_owned());
        self.cluster_mut().unblock_all();
    }

    pub(crate) fn sides(&self, one: &Side, other: &Side) -> (Vec<u8>, Vec<u8>) {
        let nodes = self.options.nodes;
        (one.nodes(nodes, other), other.nodes(nodes, one))
    }

    pub(crate) fn block(&mut self, from: &[u8], to: &[u8]) {
        for &from in from {
            for &to in to {
                self.cluster_mut().block(Place::Node(from), Place::Node(to));
            }
        }
    }
}
