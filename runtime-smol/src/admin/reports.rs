//! Requests about reports: to other domains, and by them.

use protocol_smtp::tlsrpt::Day;
use serde_json::{Value, json};
use storage::{FolderId, Mailbox, Storage};

use super::{Context, Failure, Request, transfer};
use crate::{dmarc_reports, tls_reports};

/// Carries out a request about reports.
pub(super) async fn execute(context: &Context, request: Request) -> Result<Value, Failure> {
    let (config, storage) = (&context.config, &context.storage);
    match request {
        Request::TlsReportList => match &config.outbound.tls_report_dir {
            Some(dir) => tls_reports::list(dir).await,
            None => Ok(json!([])),
        },
        Request::TlsReportSend { day } => tls_reports::send_now(context, parsed(day)?).await,
        Request::TlsReportReceived { mailbox, folder } => {
            let (mailbox, folder) = place(storage, &mailbox, folder.as_deref()).await?;
            tls_reports::received::list(storage, &mailbox, folder).await
        }
        Request::DmarcReportList => match &config.auth.dmarc_report_dir {
            Some(dir) => dmarc_reports::list(dir).await,
            None => Ok(json!([])),
        },
        Request::DmarcReportSend { day } => dmarc_reports::send_now(context, parsed(day)?).await,
        Request::DmarcReportReceived { mailbox, folder } => {
            let (mailbox, folder) = place(storage, &mailbox, folder.as_deref()).await?;
            dmarc_reports::received::list(storage, &mailbox, folder).await
        }
        _ => Err(Failure("this is no request about reports".into())),
    }
}

fn parsed(day: Option<String>) -> Result<Option<Day>, Failure> {
    let parse =
        |day: String| Day::parse(&day).ok_or_else(|| Failure(format!("{day} is no day, such as 2026-11-26")));
    day.map(parse).transpose()
}

async fn place(
    storage: &Storage,
    mailbox: &str,
    folder: Option<&str>,
) -> Result<(Mailbox, FolderId), Failure> {
    let folder = folder.unwrap_or("INBOX");
    let mailbox = transfer::find_mailbox(storage, mailbox).await?;
    let folders = storage.folders(mailbox.id).await.map_err(|e| Failure(e.to_string()))?;
    match folders.iter().find(|f| f.name == folder) {
        Some(found) => Ok((mailbox, found.id)),
        None => Err(Failure(format!("{} has no folder {folder}", mailbox.address))),
    }
}
