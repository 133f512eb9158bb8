//! The integration tests, as one program: seventeen would each be linked with the whole library.

mod architecture;
