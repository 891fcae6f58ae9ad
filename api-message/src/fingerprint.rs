//! Whether two requests are the same.

use sha2::{Digest, Sha256};

use crate::request::{Attachment, Pair, Request};

/// Changes when the way of counting does, so that no hash of another version is taken for one of this.
const VERSION: &str = "inbox send 1";

/// Fields one after the other, each with its length, so that no two requests run together.
struct Hasher(Sha256);

impl Hasher {
    fn octets(&mut self, octets: &[u8]) {
        self.0.update((octets.len() as u64).to_be_bytes());
        self.0.update(octets);
    }

    fn text(&mut self, text: &str) {
        self.octets(text.as_bytes());
    }

    fn some(&mut self, text: Option<&str>) {
        self.0.update([u8::from(text.is_some())]);
        self.text(text.unwrap_or_default());
    }

    fn count(&mut self, many: usize) {
        self.0.update((many as u64).to_be_bytes());
    }

    fn list(&mut self, list: &[alloc::string::String]) {
        self.count(list.len());
        list.iter().for_each(|text| self.text(text));
    }

    fn pairs(&mut self, pairs: &[Pair]) {
        self.count(pairs.len());
        for pair in pairs {
            self.text(&pair.name);
            self.text(&pair.value);
        }
    }

    fn attachment(&mut self, attachment: &Attachment) {
        self.some(attachment.filename.as_deref());
        self.some(attachment.content_type.as_deref());
        self.some(attachment.content_id.as_deref());
        self.octets(&attachment.content);
    }
}

impl Request {
    /// A hash of everything that was asked for. The order of addresses and fields counts, that of tags and metadata
    /// does not: many clients keep those in maps.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = Hasher(Sha256::new());
        hasher.text(VERSION);
        hasher.text(&self.from);
        for list in [&self.to, &self.cc, &self.bcc, &self.reply_to] {
            hasher.list(list);
        }
        for text in [&self.subject, &self.text, &self.html] {
            hasher.some(text.as_deref());
        }
        hasher.pairs(&self.headers);
        hasher.count(self.attachments.len());
        self.attachments.iter().for_each(|attachment| hasher.attachment(attachment));
        let mut tags = self.tags.clone();
        tags.sort_unstable();
        hasher.list(&tags);
        let mut metadata = self.metadata.clone();
        metadata.sort_unstable();
        hasher.pairs(&metadata);
        hasher.0.update([u8::from(self.send_at.is_some()), u8::from(self.require_tls)]);
        hasher.0.update(self.send_at.unwrap_or_default().0.to_be_bytes());
        hasher.0.update([u8::from(self.unsubscribe.is_some())]);
        if let Some(unsubscribe) = &self.unsubscribe {
            hasher.some(unsubscribe.url.as_deref());
            hasher.some(unsubscribe.mailto.as_deref());
            hasher.0.update([u8::from(unsubscribe.one_click)]);
        }
        hasher.0.update([u8::from(self.template.is_some())]);
        if let Some(template) = &self.template {
            hasher.text(&template.id);
            hasher.0.update([u8::from(template.version.is_some())]);
            hasher.0.update(template.version.unwrap_or_default().to_be_bytes());
            hasher.text(&template.variables);
        }
        hasher.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{TemplateUse, Unsubscribe};
    use alloc::vec;
    use alloc::vec::Vec;
    use protocol_core::Timestamp;

    fn request() -> Request {
        Request {
            from: "a@b.example".into(),
            to: vec!["c@d.example".into()],
            subject: Some("x".into()),
            text: Some("y".into()),
            tags: vec!["one".into(), "two".into()],
            ..Request::default()
        }
    }

    #[test]
    fn every_argument_counts() {
        let pair = || Pair::new("n", "v");
        let changes: [fn(&mut Request, Pair); 20] = [
            |r, _| r.from.push('x'),
            |r, _| r.to.push("e@f".into()),
            |r, _| r.cc.push("e@f".into()),
            |r, _| r.bcc.push("e@f".into()),
            |r, _| r.reply_to.push("e@f".into()),
            |r, _| r.subject = None,
            |r, _| r.subject = Some("".into()),
            |r, _| r.text = Some("z".into()),
            |r, _| r.html = Some("y".into()),
            |r, p| r.headers.push(p),
            |r, p| r.metadata.push(p),
            |r, _| r.attachments.push(Attachment::default()),
            |r, _| r.attachments.push(Attachment { content: vec![1], ..Attachment::default() }),
            |r, _| r.tags.push("three".into()),
            |r, _| r.send_at = Some(Timestamp(0)),
            |r, _| r.send_at = Some(Timestamp(1)),
            |r, _| r.require_tls = true,
            |r, _| r.unsubscribe = Some(Unsubscribe::default()),
            |r, _| r.template = Some(TemplateUse::default()),
            |r, _| r.template = Some(TemplateUse { version: Some(0), ..TemplateUse::default() }),
        ];
        let mut seen: Vec<[u8; 32]> = vec![request().fingerprint()];
        for change in changes {
            let mut changed = request();
            change(&mut changed, pair());
            let hash = changed.fingerprint();
            assert!(!seen.contains(&hash), "{changed:?}");
            seen.push(hash);
        }
    }

    #[test]
    fn only_the_order_of_maps_does_not_count() {
        let mut other = request();
        other.tags.reverse();
        assert_eq!(other.fingerprint(), request().fingerprint());
        let (mut one, mut two) = (request(), request());
        one.to = vec!["a@b".into(), "c@d".into()];
        two.to = vec!["c@d".into(), "a@b".into()];
        assert_ne!(one.fingerprint(), two.fingerprint());
    }
}
