//! Groups of consumers: who is a member, which generation it is, and what each member is assigned.
//!
//! Everything here is a plain state machine that knows neither requests nor links nor logs: it is told what members ask and
//! what time it is, and says what is to be answered and what is to be written down. The broker's part, which appends to
//! `__consumer_offsets` and answers once that is committed, is not here.

pub mod classic;
