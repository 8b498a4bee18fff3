"""The networks of `nets.NETS` in TensorFlow: Keras layers, and a step that is one `tf.function`."""

from nets import MOMENTUM, NETS, Convolution, Order, initial_parameters
from twins import EPSILON, NEW_SHARE


def peer(threads, net, batch, images, labels):
    import tensorflow as tf

    if not tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    model = _model(tf, net)
    rule, variables = _optimizer(tf, net), model.trainable_variables
    data, target = tf.constant(images), tf.constant(labels)
    order = Order(len(images), batch)

    def rescaled(x):
        return tf.cast(x, tf.float32) / 255.0 - 0.5

    @tf.function
    def train(indices):
        with tf.GradientTape() as tape:
            logits = model(rescaled(tf.gather(data, indices)), training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.gather(target, indices), logits
            )
            loss = tf.reduce_mean(losses)
        rule.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    @tf.function
    def infer(x):
        return model(rescaled(x), training=False)

    def step(count):
        for indices in order.take(count):
            loss = train(tf.constant(indices))
        return float(loss)

    return step, lambda x: infer(tf.constant(x)).numpy()


def _optimizer(tf, net):
    spec, optimizers = NETS[net], tf.keras.optimizers
    if spec.optimizer == "adam":
        return optimizers.Adam(spec.rate, epsilon=1e-8)
    return optimizers.SGD(spec.rate, MOMENTUM if spec.optimizer == "momentum" else 0.0)


def _model(tf, net):
    spec, parts = NETS[net], _Parts(tf)
    given = tf.keras.Input(spec.image_shape)
    model = tf.keras.Model(given, parts.chain(given, spec.layers))
    for layer, pair in zip(parts.learning, initial_parameters(net), strict=True):
        layer.set_weights([*pair, *layer.get_weights()[len(pair) :]])  # then averages
    return model


class _Parts:
    """Keras layers, called one after the other; those with parameters in ``learning``."""

    def __init__(self, tf):
        layers = tf.keras.layers
        self.layers, self.learning = layers, []
        self.simple = {
            "relu": layers.ReLU,
            "pool": layers.MaxPool2D,
            "average": layers.AveragePooling2D,
            "means": layers.GlobalAveragePooling2D,
            "flatten": layers.Flatten,
            "dense": layers.Dense,
            "norm": lambda: layers.BatchNormalization(momentum=1 - NEW_SHARE, epsilon=EPSILON),
            "swish": lambda: layers.Lambda(lambda x: x * tf.sigmoid(x)),
        }

    def chain(self, x, spec):
        for kind, *settings in spec:
            if kind == "conv":
                x = self._conv(x, Convolution(*settings))
            elif kind == "residual":
                body, around = settings
                inside = self.chain(x, body)
                x = self.layers.Add()([inside, self.chain(x, around) if around else x])
            else:
                layer = self.simple[kind](*settings)
                x = layer(x)
                if layer.trainable_weights:
                    self.learning.append(layer)
        return x

    def _conv(self, x, conv):
        padding = conv.padding
        if isinstance(padding, int):
            x = self.layers.ZeroPadding2D(padding)(x) if padding else x
            padding = "valid"
        layer = self.layers.Conv2D(
            conv.filters, conv.kernel, conv.stride, padding=padding, use_bias=conv.bias
        )
        x = layer(x)
        self.learning.append(layer)
        return x
