// The application that the cluster's tests run in pods. No dependencies.
module outrigger.io/tests/cluster/app

go 1.24.0
