package controllers

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// stepsTotal counts the steps that were taken.
var stepsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "raftkv_operator_steps_total",
	Help: "Steps that the operator took, by kind.",
}, []string{"step"})

func init() { metrics.Registry.MustRegister(stepsTotal) }
