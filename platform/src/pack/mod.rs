//! What is sent, packed (C3): when it pays, and by what ([`Choice`]); blocks made of bytes ([`Packer`], by a [`Codec`]), and bytes of blocks ([`Unpacker`]). The head of a
//! block and its bounds are the protocol's. No clock in here: whoever packs says what time it is.

mod choice;
mod codec;
mod line;
mod packer;
#[cfg(test)]
mod tests;
mod unpacker;

pub use choice::{Choice, Method, Mode};
pub use codec::Codec;
pub use line::FAST;
pub use packer::Packer;
pub use unpacker::Unpacker;
