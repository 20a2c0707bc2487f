//! The test kit: makes signed AT Protocol repos and damaged ones, without any of Carrack's own readers.
//!
//! It is an independent oracle, so it must never use `carrack-repo` or `carrack-store`: encoding, tree, signature
//! and container are written here a second time, from the specifications. Of Carrack it knows the vocabulary
//! (`carrack-schema`). Everything is deterministic: one seed, one repo, one sequence of bytes.
//!
//! ```
//! use kit::{Order, RepoSpec, damage};
//!
//! let repo = RepoSpec { records: 200, seed: 7, ..RepoSpec::default() }.build();
//! let car = repo.car(Order::PreOrder);
//! assert_eq!(kit::car::roots(&car), [repo.commit_cid]);
//! assert!(damage::all(&repo).iter().all(|damaged| damaged.bytes != car));
//! ```
//!
//! What is in a file of the kit: [`rng`] the randomness, [`cbor`] the encoding, [`mst`] the tree, [`key`] the
//! signatures, [`commit`] the root block, [`text`] and [`content`] the records, [`repo`] all of it together,
//! [`edit`] later versions, [`order`] and [`car`] the export, [`damage`] what is wrong with it.

pub mod car;
pub mod cbor;
pub mod commit;
pub mod content;
pub mod damage;
pub mod edit;
pub mod key;
pub mod mst;
pub mod order;
pub mod repo;
pub mod rng;
pub mod text;

pub use content::Mix;
pub use damage::{Damaged, Expect};
pub use edit::{Changes, Edit};
pub use key::Curve;
pub use order::Order;
pub use repo::{Record, Repo, RepoSpec};
