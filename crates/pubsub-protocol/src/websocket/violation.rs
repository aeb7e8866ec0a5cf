//! Each way in which a peer can break RFC 6455, and the close code that tells it so.

use crate::codes::close;
use crate::limits::CONTROL_PAYLOAD_BYTES_MAX;

/// What the peer did wrong. The connection can only be closed, with [`Violation::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// RSV1 to RSV3 belong to extensions, and none was negotiated.
    #[error("reserved bits are set ({0:#05b})")]
    ReservedBits(u8),
    /// Opcodes 3 to 7 and 11 to 15 mean nothing yet.
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A control frame without FIN.
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A control frame that announces more than 125 bytes.
    #[error("a control frame is longer than {CONTROL_PAYLOAD_BYTES_MAX} bytes")]
    OversizeControl,
    /// A client must mask.
    #[error("a frame from a client is not masked")]
    Unmasked,
    /// A server must not mask.
    #[error("a frame from a server is masked")]
    Masked,
    /// A length below 126 in two bytes, or below 65,536 in eight.
    #[error("a length of {0} is not in its shortest form")]
    LengthNotMinimal(u64),
    /// The top bit of a 64-bit length must be 0.
    #[error("the top bit of a 64-bit length is set")]
    LengthTopBit,
    /// A continuation frame, and no message to continue.
    #[error("a continuation frame with nothing to continue")]
    UnexpectedContinuation,
    /// A new message inside a fragmented one.
    #[error("a new message begins inside a fragmented one")]
    InterruptedMessage,
    /// More than the decoder was told to take.
    #[error("a message of {bytes} bytes or more, where {bytes_max} are allowed")]
    MessageTooBig {
        /// How long the message has become, or is announced to become.
        bytes: u64,
        /// How long a message may be.
        bytes_max: u32,
    },
    /// A text message that is not UTF-8, or can no longer become it.
    #[error("a text message is not UTF-8")]
    TextNotUtf8,
    /// A close frame with half a code.
    #[error("a close frame with a payload of one byte")]
    CloseTruncated,
    /// A code that may not travel in a close frame.
    #[error("close code {0} must not be sent")]
    CloseCodeInvalid(u16),
    /// A close reason that is not UTF-8.
    #[error("the reason of a close frame is not UTF-8")]
    CloseReasonNotUtf8,
}

impl Violation {
    /// The code for the close frame that answers it.
    #[must_use]
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::MessageTooBig { .. } => close::MESSAGE_TOO_BIG,
            Self::TextNotUtf8 | Self::CloseReasonNotUtf8 => close::INVALID_PAYLOAD,
            Self::ReservedBits(_)
            | Self::ReservedOpcode(_)
            | Self::FragmentedControl
            | Self::OversizeControl
            | Self::Unmasked
            | Self::Masked
            | Self::LengthNotMinimal(_)
            | Self::LengthTopBit
            | Self::UnexpectedContinuation
            | Self::InterruptedMessage
            | Self::CloseTruncated
            | Self::CloseCodeInvalid(_) => close::PROTOCOL_ERROR,
        }
    }
}
