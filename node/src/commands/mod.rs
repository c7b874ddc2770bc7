//! What the binary can be asked to do, a module each.

pub(crate) mod dev;
pub(crate) mod format;
pub(crate) mod start;
pub(crate) mod topic;
pub(crate) mod produce;
pub(crate) mod consume;
pub(crate) mod accept_loss;
pub(crate) mod cluster;
pub(crate) mod sim;
mod lines;
mod show;

/// Why a command failed, in words for whoever gave it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A number that nobody has drawn before.
pub(crate) fn draw() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("the operating system gives no random numbers: {error}"))?;
    Ok(u128::from_le_bytes(bytes))
}

/// Where the randomness of one start comes from.
pub(crate) fn draw_seed() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("the operating system gives no random numbers: {error}"))?;
    Ok(u64::from_le_bytes(bytes))
}
