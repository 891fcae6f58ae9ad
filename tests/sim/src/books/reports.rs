//! What a notification says, read from its octets.

/// One recipient in a notification.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    /// Its address.
    pub recipient: String,
    /// `failed`, `delayed`, `relayed` or `delivered`.
    pub action: String,
}

/// The envelope ID that a notification is about, and what it says of whom.
pub(crate) fn read(bytes: &[u8]) -> (Option<String>, Vec<Told>) {
    let text = String::from_utf8_lossy(bytes);
    let (mut envid, mut told, mut recipient) = (None, Vec::new(), None);
    let status = text.split("Content-Type: message/delivery-status").nth(1).unwrap_or("");
    for line in status.lines() {
        if line.starts_with("--") && recipient.is_some() {
            break;
        }
        if let Some(id) = line.strip_prefix("Original-Envelope-Id: ") {
            envid = Some(id.trim().to_owned());
        } else if let Some(address) = line.strip_prefix("Final-Recipient: rfc822;") {
            recipient = Some(address.trim().to_owned());
        } else if let (Some(action), Some(recipient)) = (line.strip_prefix("Action: "), &recipient) {
            told.push(Told { recipient: recipient.clone(), action: action.trim().to_owned() });
        }
    }
    told.sort();
    (envid, told)
}
