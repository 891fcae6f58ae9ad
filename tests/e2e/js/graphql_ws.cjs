// Listens as a JavaScript program does, with graphql-ws: graphql_ws.cjs URL AUTHORIZATION EMAIL
// Prints the types of the e-mail's events up to its delivery, then what a wrong operation and a wrong key come to.
const { createClient } = require("graphql-ws");
const WebSocket = require("ws");

const [url, authorization, email] = process.argv.slice(2);
const client = (key) =>
  createClient({ url, webSocketImpl: WebSocket, connectionParams: { Authorization: key }, retryAttempts: 0, lazy: true });

const events = (one) =>
  new Promise((resolve, reject) => {
    const types = [];
    const query = "subscription($email: ID) { deliveryEvents(after: \"evt_0_1\", emailId: $email) { type } }";
    const stop = one.subscribe(
      { query, variables: { email } },
      {
        next: (answer) => {
          types.push(answer.data.deliveryEvents.type);
          if (types.at(-1) === "DELIVERED") {
            stop();
          }
        },
        error: reject,
        complete: () => resolve(types),
      },
    );
  });

const once = (one, query) =>
  new Promise((resolve) => {
    one.subscribe({ query }, { next: (answer) => resolve(JSON.stringify(answer)), error: (e) => resolve(`error ${e.code ?? JSON.stringify(e)}`), complete: () => {} });
  });

(async () => {
  const good = client(authorization);
  console.log((await events(good)).join(" "));
  console.log(await once(good, "{ __typename }"));
  console.log(await once(good, "{ nonsense }"));
  await good.dispose();
  console.log(await once(client("Bearer nonsense"), "{ __typename }"));
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
