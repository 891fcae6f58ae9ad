//! Framing: where a command or a response ends. Lines and literals only; what they mean is read afterwards.
