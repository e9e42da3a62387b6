//! A cluster of a database, by the means that Kubernetes has for it: a StatefulSet and a headless Service.

use outrigger_tests::cluster::{ETCD, Space, Workload};
use serde_json::{Value, json};

#[test]
fn three_members_of_etcd_form_a_quorum_and_a_deleted_one_comes_back() {
    let Some(space) = Space::meshed() else { return };
    let folder = NodeFolder(format!("/tmp/outrigger-{}", space.name()));
    space.apply(&etcd(&folder.0));
    space.rolled_out("statefulset/etcd");
    let etcd = Etcd { space: &space };

    etcd.put(0, "from", "zero");
    for member in 0..3 {
        etcd.has(member, "from", "zero");
    }

    let follower = etcd.follower();
    let others: Vec<usize> = (0..3).filter(|member| *member != follower).collect();
    let before = etcd.uid(follower);
    // Its streams have no end that it could wait for.
    space.text(["delete", "pod", &format!("etcd-{follower}"), "--grace-period=5"]);
    // Two of three are a quorum: no write waits for the third.
    others.iter().for_each(|member| etcd.put(*member, "gone", "back"));
    space.rolled_out("statefulset/etcd");
    assert_ne!(etcd.uid(follower), before, "it is another pod");
    etcd.has(follower, "gone", "back");
    etcd.put(follower, "once", "more");
    for member in 0..3 {
        etcd.has(member, "once", "more");
        let healthy = space.get(&format!("pod/etcd-{member}"), "http://127.0.0.1:2379/health");
        assert!(healthy["body"].as_str().unwrap().contains("true"), "{healthy:#}");
    }

    // All that members say to each other is HTTP, and what a test asks does not leave a pod. Their streams do not end, and
    // so are not counted; but they probe each other every few seconds.
    for member in 0..3 {
        let pod = format!("pod/etcd-{member}");
        for name in ["http_client_request_duration_seconds_count", "http_server_request_duration_seconds_count"] {
            let mutual = || (space.metric(&pod, name, &["tls=\"mutual\""]) > 0.0).then_some(());
            space.eventually(&format!("{name} of {pod} by mutual TLS"), mutual);
            // A member that dials the address of the pod that is gone reaches nobody; what counts is who answered.
            assert_eq!(space.metric(&pod, name, &["tls=\"none\"", "error_type=\"\""]), 0.0, "{pod} {name}");
        }
    }
}

/// The members, each asked from inside its own pod. Keys and values are of four letters: any such word is base64, which
/// etcd's JSON wants.
struct Etcd<'a> {
    space: &'a Space,
}

impl Etcd<'_> {
    fn ask(&self, member: usize, path: &str, body: &Value) -> Value {
        let (url, body) = (format!("http://127.0.0.1:2379/v3/{path}"), body.to_string());
        let args = ["client", "-method", "POST", "-data", &body, &url];
        let answer: Value = serde_json::from_str(&self.space.exec(&format!("pod/etcd-{member}"), args)).unwrap();
        assert_eq!(answer["status"], 200, "{answer:#}");
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    }

    fn put(&self, member: usize, key: &str, value: &str) {
        self.ask(member, "kv/put", &json!({"key": key, "value": value}));
    }

    /// Waits until this very member has it, whatever the others know.
    fn has(&self, member: usize, key: &str, value: &str) {
        self.space.eventually(&format!("member {member} has {key}"), || {
            let answer = self.ask(member, "kv/range", &json!({"key": key, "serializable": true}));
            (answer["kvs"][0]["value"] == value).then_some(())
        });
    }

    /// A member that does not lead.
    fn follower(&self) -> usize {
        let follows = |member: &usize| {
            let status = self.ask(*member, "maintenance/status", &json!({}));
            status["header"]["member_id"] != status["leader"]
        };
        (0..3).find(follows).expect("one leads at most")
    }

    fn uid(&self, member: usize) -> Value {
        self.space.json(["get", "pod", &format!("etcd-{member}")])["metadata"]["uid"].clone()
    }
}

/// Three members, each with a folder of the node's. The test application is beside etcd, to ask from inside.
fn etcd(folder: &str) -> String {
    let peers = [0, 1, 2].map(|n| format!("etcd-{n}=http://etcd-{n}.etcd:2380")).join(",");
    let second = format!(
        "        - name: etcd
          image: {ETCD}
          imagePullPolicy: Never
          args:
            - --name=$(POD_NAME)
            - --data-dir=/data
            - --listen-client-urls=http://0.0.0.0:2379
            - --advertise-client-urls=http://$(POD_NAME).etcd:2379
            - --listen-peer-urls=http://0.0.0.0:2380
            - --initial-advertise-peer-urls=http://$(POD_NAME).etcd:2380
            - --initial-cluster={peers}
            # Two busy cores are no data centre.
            - --heartbeat-interval=500
            - --election-timeout=5000
          env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
          # The folder is root's.
          securityContext: {{runAsUser: 0}}
          readinessProbe: {{httpGet: {{path: /health, port: 2379}}, periodSeconds: 1, timeoutSeconds: 5}}
          volumeMounts: [{{name: data, mountPath: /data, subPathExpr: $(POD_NAME)}}]
      volumes: [{{name: data, hostPath: {{path: {folder}, type: DirectoryOrCreate}}}}]
"
    );
    let members = Workload::new("etcd").kind("StatefulSet").replicas(3).container(&second);
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: etcd}\nspec:\n  selector: {app: etcd}\n\
                   \x20 clusterIP: None\n  publishNotReadyAddresses: true\n\
                   \x20 ports:\n    - {name: client, port: 2379}\n    - {name: peer, port: 2380}\n";
    members.yaml() + service
}

/// A folder of the node's; it goes with the test where the node is this machine.
struct NodeFolder(String);

impl Drop for NodeFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
