//! MTA-STS policies of other domains.

use storage::*;

use crate::support::*;

fn policy(domain: &str, text: &str, fetched: i64) -> StoredPolicy {
    StoredPolicy {
        domain: domain.into(),
        text: text.into(),
        fetched: at(fetched),
        refresh: at(fetched + 100),
        expires: at(fetched + 1_000),
    }
}

pub async fn policies_are_kept_by_domain_and_the_later_one_stays(store: S) {
    assert_eq!(store.policy("a.example").await.unwrap(), None);
    let first = policy("a.example", "id\r\nversion: STSv1\r\n\"é\"", 10);
    store.put_policy(&first).await.unwrap();
    store.put_policy(&policy("b.example", "b", 10)).await.unwrap();
    assert_eq!(store.policy("a.example").await.unwrap(), Some(first.clone()));
    // The same moment: a use was noted. An earlier one: another node was slower.
    let noted = StoredPolicy { text: "used".into(), ..first.clone() };
    store.put_policy(&noted).await.unwrap();
    store.put_policy(&policy("a.example", "late", 9)).await.unwrap();
    assert_eq!(store.policy("a.example").await.unwrap(), Some(noted));
    let later = policy("a.example", "new", 11);
    store.put_policy(&later).await.unwrap();
    assert_eq!(store.policy("a.example").await.unwrap(), Some(later));
    assert_eq!(store.policy("b.example").await.unwrap().map(|p| p.text), Some("b".into()));
}

pub async fn policies_come_due_in_order_and_go_when_they_have_expired(store: S) {
    for (domain, fetched) in [("c.example", 30), ("a.example", 10), ("b.example", 20), ("d.example", 10)] {
        store.put_policy(&policy(domain, domain, fetched)).await.unwrap();
    }
    let due = async |now, limit| {
        let due = store.policies_due(at(now), limit).await.unwrap();
        due.into_iter().map(|p| p.domain).collect::<Vec<_>>()
    };
    assert_eq!(due(109, 9).await, Vec::<String>::new());
    assert_eq!(due(120, 9).await, ["a.example", "d.example", "b.example"]);
    assert_eq!(due(120, 2).await, ["a.example", "d.example"]);
    assert_eq!(store.clean_policies(at(1_010)).await.unwrap(), 0);
    assert_eq!(store.clean_policies(at(1_011)).await.unwrap(), 2);
    assert_eq!(due(2_000, 9).await, ["b.example", "c.example"]);
    assert_eq!(store.policy("a.example").await.unwrap(), None);
}
