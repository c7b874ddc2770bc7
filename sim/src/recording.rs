//! What a broker was told from its start on, and what it ordered: enough to have another one do the same again.
//!
//! Whatever a broker decides by is in its inputs and the clocks they came with, so a fresh broker that is told the same
//! orders the same. Were anything else asked of a broker, or told to it, beside [`Broker::step`], a replay would differ.

use varve_core::broker::{Broker, Setup};
use varve_core::describe;
use varve_core::effect::{Effect, Effects};
use varve_core::hooks::{Hooks, Mutant};
use varve_core::input::Input;
use varve_core::store::Recovered;
use varve_core::time::Now;

/// One start of a broker.
#[derive(Debug)]
pub struct Recording {
    /// What it was made of.
    start: (Setup, Recovered, u64, Now),
    mutant: Option<Mutant>,
    /// What it ordered when it was made.
    started: Vec<Effect>,
    /// What it was told, when, and what it ordered.
    steps: Vec<(Now, Input, Vec<Effect>)>,
}

impl Recording {
    /// A broker is made of these, and orders this.
    #[must_use]
    pub fn new(
        start: (Setup, Recovered, u64, Now),
        mutant: Option<Mutant>,
        started: &Effects,
    ) -> Self {
        Self {
            start,
            mutant,
            started: started.as_slice().to_vec(),
            steps: Vec::new(),
        }
    }

    /// It is told this, and orders this.
    pub fn step(&mut self, now: Now, input: Input, effects: &Effects) {
        self.steps.push((now, input, effects.as_slice().to_vec()));
    }

    /// How many steps it has made.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has made none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Tells a fresh broker the same.
    ///
    /// # Errors
    /// The first step at which it orders something else.
    pub fn replay(&self) -> Result<(), String> {
        let (setup, recovered, seed, now) = self.start.clone();
        let mut effects = Effects::with_hooks(Hooks::with_mutant(self.mutant));
        let made = Broker::new(setup, recovered, seed, now, &mut effects);
        let mut broker = made;
        if effects.as_slice() != self.started {
            return Err("a fresh broker orders something else when it is made".to_owned());
        }
        for (nth, (now, input, ordered)) in (1..).zip(&self.steps) {
            effects.drain();
            broker.step(*now, input.clone(), &mut effects);
            if effects.as_slice() != ordered {
                let told = describe::input(input);
                return Err(format!(
                    "a fresh broker orders something else at its step {nth}, told {told}"
                ));
            }
        }
        Ok(())
    }
}
