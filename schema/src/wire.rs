//! Code generated from `schema/capnp` by `cargo xtask codegen`, checked in so that building needs no schema
//! compiler.

macro_rules! generated {
    ($($name:ident)*) => {$(
        #[allow(
            clippy::all, clippy::unimplemented, missing_docs, unreachable_pub, unused_qualifications, let_underscore_drop,
            clippy::allow_attributes_without_reason,
            reason = "generated; its documentation is the schema's"
        )]
        #[rustfmt::skip]
        pub mod $name;
    )*};
}

generated! { catalog_capnp grant_capnp query_capnp record_capnp segment_capnp store_capnp }
