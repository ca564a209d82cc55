package main

// alternatives is what a machine that cannot host a cluster is told.
const alternatives = `Use another Kubernetes instead: a cluster of your own, or kind, k3d or minikube where a container engine runs;
point KUBECONFIG at it.`
