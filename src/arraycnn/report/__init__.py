"""Reports on trained networks: what they get wrong, how sure they are, what happens inside.

`examine` measures a model; the ``plot_`` functions draw what it found as matplotlib figures, for
notebooks; `write_report` puts everything on one page. Drawing needs matplotlib, the extra
``plot``; measuring does not.
"""

from arraycnn.report.augmented import augmented
from arraycnn.report.charts import (
    plot_calibration,
    plot_class_scores,
    plot_comparison,
    plot_confusion_matrix,
    plot_layer_times,
    plot_learning_curves,
    plot_norms,
)
from arraycnn.report.examination import Examination, examine
from arraycnn.report.examined import Examined
from arraycnn.report.galleries import (
    plot_augmented,
    plot_feature_maps,
    plot_filters,
    plot_mistakes,
    plot_saliency,
)
from arraycnn.report.internals import (
    Activation,
    LayerNorms,
    LayerTime,
    activations,
    layer_norms,
    layer_times,
    saliency,
)
from arraycnn.report.measures import (
    Calibration,
    ClassScores,
    Confusion,
    calibration,
    class_scores,
    confident_mistakes,
    confusion_matrix,
    confusions,
    log_loss,
    top_k_accuracy,
    wilson_interval,
)
from arraycnn.report.other_charts import plot_residuals, plot_thresholds
from arraycnn.report.other_examinations import (
    ImageExamination,
    LabelExamination,
    NumberExamination,
)
from arraycnn.report.rate_chart import plot_rate_search
from arraycnn.report.run import Run, StepRecord, is_data_of, load_run_data, read_run
from arraycnn.report.writing import write_report

__all__ = [
    "Activation",
    "Calibration",
    "ClassScores",
    "Confusion",
    "Examination",
    "Examined",
    "ImageExamination",
    "LabelExamination",
    "LayerNorms",
    "LayerTime",
    "NumberExamination",
    "Run",
    "StepRecord",
    "activations",
    "augmented",
    "calibration",
    "class_scores",
    "confident_mistakes",
    "confusion_matrix",
    "confusions",
    "examine",
    "is_data_of",
    "layer_norms",
    "layer_times",
    "load_run_data",
    "log_loss",
    "plot_augmented",
    "plot_calibration",
    "plot_class_scores",
    "plot_comparison",
    "plot_confusion_matrix",
    "plot_feature_maps",
    "plot_filters",
    "plot_layer_times",
    "plot_learning_curves",
    "plot_mistakes",
    "plot_norms",
    "plot_rate_search",
    "plot_residuals",
    "plot_saliency",
    "plot_thresholds",
    "read_run",
    "saliency",
    "top_k_accuracy",
    "wilson_interval",
    "write_report",
]
