//! The service `Collections`.

use hyperspace_core::error::ErrorKind;
use hyperspace_server::proto::{
    CollectionConfig, CreateCollectionRequest, DeleteCollectionRequest, GetCollectionRequest, ListCollectionsRequest,
    Metric, Quantization,
};

use crate::support::client::{Client, batch, config, nearest, numbers};
use crate::support::random::Random;
use crate::support::refusal::refused;
use crate::support::server::Running;

async fn names(client: &Client) -> Vec<String> {
    let listed = client.collections().list(ListCollectionsRequest {}).await.unwrap().into_inner().collections;
    listed.into_iter().map(|collection| collection.config.unwrap().name).collect()
}

async fn delete(client: &Client, name: &str) -> Result<(), tonic::Status> {
    client.collections().delete(DeleteCollectionRequest { name: name.into() }).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_what_it_was_made_as_also_after_a_restart() {
    let server = Running::new().await;
    let client = server.client().await;
    let full = CollectionConfig {
        quantization: Quantization::ScalarI8.into(),
        m: Some(24),
        ef_construction: Some(80),
        ef_search: Some(4096),
        ..config("a-full_1", 4096, Metric::Poincare)
    };
    let longest = "z".repeat(64);
    let made = [full, config("b", 1, Metric::Dot), config(&longest, 7, Metric::Cosine)];
    let mut collections = Vec::new();
    for config in made.clone() {
        let request = CreateCollectionRequest { config: Some(config.clone()) };
        let collection = client.collections().create(request).await.unwrap().into_inner();
        assert_eq!(collection.config.as_ref(), Some(&config));
        assert_eq!((collection.points, collection.pending, collection.segments), (0, 0, 0));
        assert_eq!(client.describe(&config.name).await, collection);
        collections.push(collection);
    }
    let list = async |client: &Client| client.collections().list(ListCollectionsRequest {}).await.unwrap().into_inner();
    assert_eq!(list(&client).await.collections, collections, "by name");

    let server = server.restart().await;
    assert_eq!(list(&server.client().await).await.collections, collections);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_once_whatever_the_configuration_and_free_after_a_delete() {
    let server = Running::new().await;
    let client = server.client().await;
    let first = client.create("c", 2, Metric::L2).await;
    client.upsert(batch("c", numbers(0..3), &[1.0; 6])).await;
    for again in [config("c", 2, Metric::L2), config("c", 3, Metric::Cosine)] {
        let request = CreateCollectionRequest { config: Some(again) };
        refused("create", client.collections().create(request).await, ErrorKind::AlreadyExists, "`c`");
    }
    assert_eq!(client.count("c", "").await, 3, "a refused create changes nothing");

    delete(&client, "c").await.unwrap();
    refused("delete", delete(&client, "c").await, ErrorKind::NotFound, "`c`");
    let get = client.collections().get(GetCollectionRequest { name: "c".into() }).await;
    refused("get", get, ErrorKind::NotFound, "`c`");
    refused("search", client.points().search(nearest("c", &[1.0; 2], 1)).await, ErrorKind::NotFound, "`c`");
    assert_eq!(names(&client).await, Vec::<String>::new());

    let second = client.create("c", 3, Metric::Cosine).await;
    assert_ne!(second.id, first.id, "the id names one collection and none that is made later");
    assert_eq!((client.count("c", "").await, second.points), (0, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_create_the_same_name_one_succeeds() {
    let server = Running::new().await;
    let client = server.client().await;
    let create = |dimension| {
        let (mut collections, config) = (client.collections(), config("c", dimension, Metric::L2));
        tokio::spawn(async move { collections.create(CreateCollectionRequest { config: Some(config) }).await })
    };
    let racing: Vec<_> = (1..=16).map(create).collect();
    let mut made = Vec::new();
    for outcome in racing {
        match outcome.await.unwrap() {
            Ok(collection) => made.push(collection.into_inner()),
            refusal => refused("create", refusal, ErrorKind::AlreadyExists, "`c`"),
        }
    }
    assert_eq!(made, [client.describe("c").await]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_collection_takes_its_files_along_and_leaves_the_others() {
    let server = Running::new().await;
    let client = server.client().await;
    let mut random = Random::new(1);
    for name in ["goes", "stays"] {
        client.create(name, 8, Metric::L2).await;
        client.upsert(batch(name, numbers(0..500), &random.rows(500, 8))).await;
        client.vacuum(name).await;
    }
    let stays = client.stats_of("stays").await;
    delete(&client, "goes").await.unwrap();
    assert_eq!(names(&client).await, ["stays"]);
    let data = server.data.clone();
    let server = server.restart().await;
    assert_eq!(names(&server.client().await).await, ["stays"]);
    assert_eq!(server.client().await.stats_of("stays").await.points, stays.points);
    let folders = std::fs::read_dir(data.join("spaces")).unwrap().count();
    assert_eq!(folders, 1, "one collection, one folder");
    server.stop().await;
}
