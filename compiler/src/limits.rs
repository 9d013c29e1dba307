//! What the importer takes. Each limit is one row here: its sentence is both what a user reads when
//! a model is refused and a line in the generated list of what is supported. Bounds on work and
//! memory stand before them.

use std::fmt::Write;

use crate::diagnostic::Rule;
use crate::sizes;

/// Most nodes of a graph.
pub const NODES_MAX: usize = 1 << 16;

/// Most outputs of a graph.
pub const OUTPUTS_MAX: usize = 64;

/// Most values of all constants of a file together.
pub const CONSTANT_VALUES_MAX: usize = 1 << 26;

/// Most values of constants that nodes read, which may share them.
pub const VALUES_READ_MAX: usize = 1 << 28;

/// Most channels of a map.
pub const CHANNELS_MAX: usize = 65535;

/// Most values read, written and multiplied while the constants of a file are computed.
pub const CONSTANT_WORK_MAX: u64 = 1 << 30;

/// Most values read, written and multiplied for one node of the host.
pub const INTERPRETED_WORK_MAX: u64 = 1 << 26;

/// Most products of one layer.
pub const PRODUCTS_MAX: u64 = 1 << 36;

/// Most operands of a concatenation, and most numbers of an input that stands for an attribute.
pub const OPERANDS_MAX: usize = 4096;

/// Most regions of a result whose means are over different numbers of values.
pub const REGIONS_MAX: usize = 256;

/// Most values that the host's part may read and make for an image, so that no file keeps the host
/// busy for long.
pub const HOST_VALUES_MAX: usize = 1 << 27;

/// Most strings and messages of an ONNX file: each takes memory far beyond its bytes.
pub const MESSAGES_MAX: usize = 1 << 20;

/// Most phases times taps of an axis that is repeated.
pub const READS_MAX: usize = 1 << 20;

/// Most tuples of values of all maps but one at which a sum of several scales is tried.
pub const TUPLES_MAX: usize = 1 << 16;

/// Most thresholds of such a sum.
pub const PAIRS_MAX: usize = 1 << 21;

/// Most evaluations of chains of operators while step functions of a network are searched.
pub const EVALUATIONS_MAX: u64 = 1 << 29;

/// Most weights, thresholds and constants of a network.
pub const INTEGERS_MAX: usize = 1 << 26;

/// Messages after which no more nodes are looked at.
pub const ERRORS_MAX: usize = 20;

/// Most maps that one exact sum reads.
pub const TERMS_MAX: usize = 256;

/// Most exact sums of which one sum of real values consists.
pub const LEAVES_MAX: usize = 32;

/// Most channels that stand for one value: enough for means of 3 x 3 bytes, those at the borders
/// among them.
pub const PARTS_MAX: i64 = 72;

/// Most values of a tensor.
pub const VALUES_MAX: usize = 1 << 24;

/// Most dimensions of a tensor.
pub const RANK_MAX: usize = 8;

/// Most accumulators at which a function is tried that is not known to be monotone.
pub const TABLE_MAX: i64 = 1 << 16;

/// Most stripes of a layer whose maps pass through the memory.
pub const STRIPES_MAX: u32 = 1 << 16;

/// A group of limits in the list: an operator, or what holds for every model.
struct Group {
    title: &'static str,
    meaning: &'static str,
    limits: &'static [&'static Rule],
}

/// Writes each limit once, as a static and as a member of its group; in a sentence, `{size}` stands
/// for [`sizes::MAX_SIZE`].
macro_rules! limits {
    ($($title:literal: $meaning:literal { $($name:ident: $sentence:literal, $help:literal;)* })*) => {
        $($(
            #[doc = concat!($title, ": ", $sentence, ".")]
            pub static $name: Rule = Rule {
                name: stringify!($name),
                sentence: {
                    const TEXT: &str = $sentence;
                    const SIZED: [u8; sizes::length(TEXT)] = sizes::with_size(TEXT);
                    match str::from_utf8(&SIZED) {
                        Ok(sentence) => sentence,
                        Err(_) => panic!("sentences are text"),
                    }
                },
                help: $help,
            };
        )*)*
        static GROUPS: &[Group] = &[$(
            Group { title: $title, meaning: $meaning, limits: &[$(&$name),*] },
        )*];
    };
}

limits! {
    "Model": "An ONNX file in QONNX form: a graph from one input to its outputs. A layer is a sum of `Conv`, `MatMul` \
        and `Gemm` with weights that are integers times a scale, maps and means of maps, then operators that work on each channel for \
        itself, then a quantizer; a `MaxPool` may stand before or after the quantizer. What a quantizer makes may \
        be read many times. The last layer needs none: its accumulators are \
        the output, and what follows them is for the host." {
        OPSET: "the ONNX operator set has a version from 9 to 25",
            "export the model with opset 18";
        OPERATOR: "only the operators in the list of supported operators can be compiled",
            "remove the node or replace it by supported operators";
        ATTRIBUTE: "an attribute is known to the operator's definition and has the type that it gives",
            "export the model again with current tools";
        SINGLE_INPUT: "a model has one input",
            "cut the model so that one remains";
        OUTPUTS: "a model has 1 to 64 outputs; those that do not depend on the input are left out",
            "cut the model so that these remain";
        FIRST_OUTPUT: "only the first output of a node is used, except of `Split` and `TopK`",
            "remove what reads the other outputs";
        INPUT_SHAPE: "the input has the shape [1, channels, height, width], [1, channels, length] or [1, channels], or one that a `Transpose` or `Reshape` in front makes such, where the batch may be any number or a symbol: one image at a time is computed",
            "export the model with a fixed shape";
        MAP_SIZE: "a map has 1 to {size} rows, 1 to {size} columns, 1 to 65535 channels and at most 2^24 values",
            "make the map smaller";
        BATCH: "layers work on one image: their first dimension is 1",
            "export the model with a batch of 1";
        LAYER_INPUT: "what sums over values reads quantized ones, or exact sums of these: nothing but `Relu`, `MaxPool`, sums, joins, averages and operators that move values stands between it and the quantizers",
            "quantize the activation before this node";
        COMPOSED_WEIGHTS: "sums that are not quantized before the next layer make with it weights that are integers of at most 1016, or have so few values that 72 channels of 8 bits hold them together",
            "quantize the sum before the next layer";
        COMPOSED_PADDING: "sums over windows that are not quantized before a layer that pads have so few values that 72 channels of 8 bits hold them together",
            "quantize the values before the padded layer";
        TERMS: "a layer sums at most 256 maps",
            "quantize some of the sums";
        SUM_FORMS: "a sum has at most 32 operands that are not quantized",
            "quantize some of them";
        SUM_AFFINE: "what is added to other values before it is quantized comes from quantized values through additions, multiplications and `BatchNormalization` alone, with one sign for each",
            "put a quantizer before the addition";
        SUM_PAIRS: "a sum of values with different scales is tried at all pairs: of all operands but the widest at most 65536 together, and 2^21 thresholds",
            "quantize the operands to fewer bits, or with the same scale";
        SUM_SCALES: "a sum of values with different scales has integer weights of at most 8128 that give the quantizer's code at every pair of values",
            "quantize both operands with the same scale, which a shared quantizer does";
        SUM_PARTS: "values that were joined along the channels before they are quantized stay in their order, and are not added",
            "put the quantizer before the concatenation";
        FIRST_QUANT: "between the input and its first quantizer stand operators on single values and operators that move values alone, which the host evaluates; all that reads the input reads it through the same ones",
            "quantize the input, as a `QuantIdentity` in front of the first layer does, or say which integers it holds: --input-type uint8, --input-scale S";
        PER_CHANNEL: "a constant operand is one number or has one number for each channel",
            "use constants of shape [1, channels, 1, 1]";
        HOST: "the host computes what stands behind the last layer with weights, whatever it is; `Softmax`, `LogSoftmax`, `ArgMax`, `ArgMin`, `TopK`, products of two matrices that are computed, and what the list calls the host's can only stand there",
            "remove this node, or put it behind the last layer";
        OUTPUT_SUM: "outputs are made of the accumulators of layers: sums of quantized values, with at most 32 scales",
            "let the model end in a layer with weights, and what it reads be quantized";
        HOST_WORK: "what the host computes in front of the input quantizer or behind the last layer reads and makes at most 2^27 values",
            "compute what follows the last layer elsewhere: cut the model behind it";
        TOP_K: "`TopK` takes as many values as there are, or fewer",
            "export the model again";
        PRODUCT: "a product of two maps reads quantized ones, of one shape, or one of them with a value for each channel of the other; their scales are floats",
            "quantize both factors before the multiplication, with one scale each";
        FINITE: "the real values of a layer stay finite in double precision",
            "check the scales and the constants of the layer";
        ACCUMULATOR: "accumulators fit 32 bits, by the actual weights",
            "use fewer bits for weights or activations, or fewer input channels";
        PRODUCTS: "a layer has at most 2^36 MACs",
            "make the layer smaller";
        SEARCH: "finding the thresholds of a model takes at most 2^29 evaluations of an operator",
            "use fewer channels or fewer bits";
        NODES: "a model has at most 65536 nodes",
            "make the model smaller";
        INTEGERS: "the integer network has at most 2^26 weights, thresholds and constants",
            "use fewer channels or fewer bits";
        CONSTANTS: "the constants, with those computed from them, have at most 2^26 values together, and nodes read at most 2^28",
            "make the model smaller";
    }
    "Constant": "Initializers and `Constant` nodes. What depends on constants alone is computed while importing." {
        CONSTANT_INSIDE: "constants are stored in the model file itself",
            "save the model without external data";
        CONSTANT_TYPE: "constants are of type float, double, float16, bfloat16, int64, int32, int16, uint16, int8, uint8, int4, uint4 or bool",
            "export the model in single precision";
        CONSTANT_SIZE: "a constant has at most 8 dimensions and 2^24 values",
            "make the layer smaller";
        CONSTANT_FINITE: "constants are finite numbers",
            "check the training: it has probably diverged";
        CONSTANT_FORM: "a `Constant` node has the attribute `value`, `value_float`, `value_floats`, `value_int` or `value_ints`",
            "store the constant as an initializer";
    }
    "Quant": "QONNX quantizer: integer = round(clip(x / scale + zero point)), value = (integer - zero point) x \
        scale. On weights and biases, which are constants, and on activations. Signed with one bit it is a \
        `BipolarQuant`. `IntQuant` is the same operator." {
        ATTRIBUTE_GIVEN: "the attributes `signed` and `narrow` are given: they have no default",
            "export the model again with current tools";
        QUANT_CONSTANTS: "scale, zero point and bit width are constants",
            "export with fixed scales";
        QUANT_SCALE: "a scale is greater than 0",
            "check the quantizer's scale";
        QUANT_PER_TENSOR: "the zero point of what a layer reads is one number, and so is the scale of the input",
            "quantize activations with one zero point";
        QUANT_ZERO_POINT: "a zero point is a whole number",
            "export the model again with current tools";
        QUANT_BITS: "the bit width is one whole number, 1 to 8 for activations, 1 to 32 for constants; 8 bits hold the integers of an activation and its zero point",
            "use 1 to 8 bits";
        QUANT_ROUNDING: "the rounding mode is ROUND (to nearest, ties to even), HALF_EVEN, HALF_UP (ties away from zero), HALF_DOWN (ties towards zero), FLOOR, CEIL, UP (away from zero), DOWN or ROUND_TO_ZERO",
            "use ROUND";
    }
    "BipolarQuant": "QONNX sign quantizer: +scale where x >= 0, else -scale. Activations take two bits: \
        padding needs an exact zero." {
        BIPOLAR_SIGN: "the input of a `BipolarQuant` on activations can be negative",
            "with --unsigned-1bit-relu such a BipolarQuant is read as an unsigned 1-bit Quant of the same scale, which is what the trained model computes";
    }
    "Trunc": "QONNX right shift, in both versions: with five inputs by the difference of two bit widths, with six by \
        the ratio of two scales and clipped." {
        TRUNC_SHIFT: "the parameters of a `Trunc` are one number each, it does not shift to the left, and its zero point stays whole",
            "truncate to fewer bits, with zero point 0";
        TRUNC_RANGE: "a `Trunc` of version 1 does not clip, so what it shifts has no more bits than its input bit width says",
            "export the model with current tools, which write version 2";
    }
    "MultiThreshold": "FINN's activation: out_scale x (number of thresholds that x reaches) + out_bias." {
        THRESHOLD_SHAPE: "the thresholds have the shape [channels, n] or [1, n], n at most 255, and are constants",
            "use at most 8 bits";
        THRESHOLD_SCALE: "out_scale is greater than 0, and out_bias is a multiple of half of it",
            "export the thresholds again";
        THRESHOLD_LAYOUT: "maps are in channel-height-width order",
            "do not convert the model to channels-last";
    }
    "QuantizeLinear": "ONNX quantizer: integer = clip(round(x / scale) + zero point), ties to even. With a `Clip` behind \
        it, it has fewer bits." {
        LINEAR_AXIS: "scale and zero point are one number, or a list along the axis",
            "export the model again";
        LINEAR_TYPE: "integers are of type uint8, int8, uint16, int16, uint4, int4 or, in constants, int32",
            "quantize to int8 or uint8";
        LINEAR_BLOCKS: "one scale holds for a tensor or for an index of an axis, not for blocks",
            "quantize per tensor or per channel";
    }
    "DequantizeLinear": "value = (integer - zero point) x scale, of what a `QuantizeLinear` made, or of constants." {
        LINEAR_INTEGERS: "a `DequantizeLinear` reads integers: constants, or what a `QuantizeLinear` made, through at most `Clip`, `Relu`, `MaxPool` and relabelling",
            "quantize the values with a `QuantizeLinear` first";
    }
    "Conv": "Convolution of one or two dimensions, any kernel, stride, dilation, groups and zero padding. A bias becomes part \
        of the thresholds." {
        CONV_2D: "a convolution or pooling has one or two spatial dimensions",
            "use Conv1d or Conv2d";
        CONV_GROUP: "the number of groups is at least 1, and divides the channels and the outputs",
            "the file contradicts itself: export the model again";
        CONV_AUTO_PAD: "`auto_pad` is NOTSET, VALID, SAME_UPPER or SAME_LOWER",
            "export with explicit padding";
        CONV_SIZES: "kernel, stride and dilation are 1 to {size}, paddings 0 to {size}, all as far as the sizes below allow, and the window fits the padded map",
            "make kernel, stride or padding smaller; a matrix product is a kernel over its vector, whose length has to be a product of two numbers of at most 4095: pad it with zeros";
        CONV_SHAPES: "the weights have the shape [outputs, channels of a group, kernel height, kernel width], and the bias one value an output",
            "the file contradicts itself: export the model again";
        WEIGHTS: "weights are constants: what a quantizer made, through at most `Transpose` and `Identity`, or integers of at most 255 times a scale",
            "quantize the weights of the layer";
        WEIGHT_SCALE: "the scale of weights is one number or has one number for each output channel",
            "quantize weights per tensor or per output channel";
        WEIGHT_BITS: "weights, less their zero point, are integers from -1016 to 1016; beyond -128 to 127 a layer takes more cycles",
            "use at most 8 signed bits";
    }
    "ConvTranspose": "With the limits of `Conv`. The result is held with its pixels as channels at the resolution of the \
        map, and so is what follows, until a stride or a window comes back to it." {
        UPSAMPLE_SIZE: "a map of a higher resolution than its source has a size that is a multiple of the factor between them",
            "choose padding and output_padding so that the sizes are multiples of the strides";
        UPSAMPLE_READS: "the factor to the resolution of the source, times the kernel, is at most 2^20 along rows and columns",
            "use a smaller stride or kernel";
        UPSAMPLE_POOL: "a `MaxPool` reads a map at the resolution at which it is held",
            "use a convolution with a stride, or pool before the resolution is raised";
        UPSAMPLE_MIXED: "values of different resolutions meet as maps, or as sums that are not yet quantized at one resolution",
            "quantize the values before they are added or joined";
    }
    "Resize": "Nearest, by whole factors of rows and columns: each value is repeated. `Upsample` is its older form. Behind the last layer \
        also linear, and by any factor." {
        RESIZE_NEAREST: "in front of a layer, `Resize` has mode `nearest`, constant whole factors for rows and columns, and coordinates that repeat each value: `asymmetric` with `floor`, or `half_pixel`; behind the last layer, mode `nearest` or `linear` and constant factors or sizes of rows and columns",
            "use nn.Upsample with mode nearest and a whole scale_factor";
    }
    "DepthToSpace": "Both modes, and `SpaceToDepth`." {
        BLOCKS: "the block has a size of at least 1 that divides the map, and mode is `DCR` or `CRD`",
            "the file contradicts itself: export the model again";
    }
    "MatMul": "A matrix of values times a constant matrix of quantized weights, on either side: a vector, tokens, or a map \
        along its channels, rows or columns." {
        DENSE_SHAPES: "one operand is a constant matrix, behind dimensions of 1, and the other holds matrices of values that fit it",
            "reshape the values before the layer";
    }
    "Gemm": "The same with factors and a bias, alpha x A x B + beta x C; A and B transposed or not." {
        GEMM_BIAS: "the third operand is a constant that has not more dimensions or values than the product",
            "use a bias of one value for each output";
    }
    "BatchNormalization": "(x - mean) / sqrt(variance + epsilon) x scale + bias, for each channel; any sign of \
        the scale." {
        NORM_INFERENCE: "batch normalization is in inference mode",
            "call model.eval() before exporting";
        NORM_PARAMETERS: "scale, bias, mean and variance are constants with one value for each channel, and variance + epsilon is greater than 0",
            "export the trained statistics";
    }
    "MaxPool": "Maximum over a window, any stride, padding and rounding of the size." {
        POOL_2D: "pooling has one or two spatial dimensions",
            "use pooling of one or two dimensions";
        POOL_DILATION: "dilations are 1",
            "use pooling without dilation";
        POOL_SIZES: "kernel and stride are 1 to {size}, as far as the sizes below allow, paddings are smaller than the kernel, and the window fits the padded map",
            "check the attributes of the pooling";
        POOL_PLACE: "a layer has one `MaxPool`, after its convolution; what stands between a pooling of values that are not quantized and the quantizer behind it only rises or only falls in each channel",
            "put the pooling behind the quantizer, one for each layer";
    }
    "Relu": "max(x, 0), before or after the quantizer." {}
    "Clip": "Between two constants, inputs or attributes: hard tanh, Relu6, or fewer bits behind a `QuantizeLinear`." {
        CLIP_ENDS: "the ends of a `Clip` are single constants",
            "export the model with fixed ends";
    }
    "PRelu": "x, or x times a constant below zero." {
        PRELU_SLOPE: "the slope is a constant: one number, or one for each channel",
            "export the trained slopes";
    }
    "Pow": "The square and the cube." {
        POW_EXPONENT: "the exponent is the constant 2 or 3",
            "write other powers as products or leave them out";
    }
    "Max, Min": "Of two operands: a map and constants, or two functions of one map." {}
    "Exp, Log, Sqrt, Reciprocal": "Where they are finite. A reciprocal is tried at all values, so that what stands in \
        front of it has at most 65,536." {}
    "LeakyRelu, Elu, Celu, Selu, Sigmoid, HardSigmoid, Tanh, Softplus, Softsign, Erf, Neg": "In front of a quantizer." {
        FUNCTION_PARAMETER: "factors inside or in front of an exponential are greater than 0",
            "check the attributes of the function";
    }
    "Gelu, Swish, HardSwish, Mish": "In front of a quantizer, as operators or spelled out: x x sigmoid(x), x x \
        clip(x + 3, 0, 6) / 6, with `Erf`, `Tanh` and `Pow`. These functions fall, and then rise; where the quantizer is fine enough to see it, that takes two \
        channels for each and a layer that adds them up." {
        MONOTONE: "behind a layer, the codes of a channel rise, fall, or turn once, over all accumulators that it can reach; where it sums values of different scales they rise or fall",
            "use one function that turns between two quantizers";
    }
    "AveragePool": "Mean over a window, of quantized values or exact sums of these; exact with the quantizer behind \
        it, or as part of the next layer's weights." {
        POOL_DIVISOR: "the windows of an average have at most 256 regions of different numbers of values, as padding makes them, whose least common multiple is at most 2^20 along an axis",
            "use less padding, or count_include_pad";
    }
    "GlobalAveragePool": "Mean over all rows and columns." {}
    "ReduceMean": "Mean over all rows and columns." {
        MEAN_SPATIAL: "a mean is over whole rows, columns or channels of a map; over channels if they have one scale",
            "reduce over the axes 2 and 3";
    }
    "Concat": "Of maps or vectors along the channels, and of constants." {
        CONCAT_SHAPES: "what is joined has the same size in all other dimensions",
            "the file contradicts itself: export the model again";
        CONCAT_CHANNELS: "maps are joined along the channels",
            "concatenate along axis 1";
    }
    "Slice": "Part of the channels, rows or columns." {
        SLICE: "starts and ends are constants, one of each for every axis that is named, steps are positive, and something is left",
            "slice with constant bounds and positive steps";
    }
    "Split": "Along the channels, rows or columns." {
        SPLIT: "the sizes of the parts are positive constants that add up to the dimension",
            "the file contradicts itself: export the model again";
    }
    "Pad": "With zeros, or another value, around rows and columns; negative ones cut off." {
        PAD: "paddings are constants, for rows and columns, and something is left",
            "pad only rows and columns";
        PAD_ZERO: "padding is constant zeros, or another whole number between a quantizer of scale 1 and convolutions without padding",
            "use zero padding";
    }
    "Squeeze": "Dimensions of size 1 go away." {
        UNIT: "dimensions that are taken away have size 1, and a tensor has at most 8",
            "the file contradicts itself: export the model again";
        AXIS: "an axis is one of the tensor's, and is named once",
            "the file contradicts itself: export the model again";
        INTEGER_INPUT: "inputs that stand for attributes are constants",
            "export the model with fixed shapes";
    }
    "Unsqueeze": "Dimensions of size 1 are put in." {}
    "Add": "Of a constant, or of two maps: exact if one scale is a small multiple of the other, else by integer weights \
        that are tried at all pairs of values." {
        ONE_CONSTANT: "a constant operand has not more dimensions or values than the other; two maps are divided or compared for the greater only as functions of one quantized map",
            "make one operand a constant of that shape, or multiply, add or subtract quantized maps";
        SUM_SHAPES: "maps that are added have the same shape",
            "bring both to the same shape";
    }
    "Sub": "Of a constant, from a constant, or of two maps." {}
    "Mul": "By a constant of any sign." {}
    "Div": "By a constant of any sign." {
        DIV_ZERO: "the divisor is a constant without zeros",
            "multiply by a constant in place of dividing by a value";
    }
    "Reshape": "Of values that stay whole channels, rows and columns, or parts of these: as a vector and back, or with \
        the channels in groups." {
        RELABEL: "`Reshape`, `Flatten` and `Transpose` of maps only name their values in another way; products and means read whole rows, columns and parts of the channels under any names, all other operators see a map",
            "remove the reshape, or apply it to constants";
        RESHAPE_SHAPE: "the new shape is a constant that keeps the number of values",
            "export the model with fixed shapes";
    }
    "Flatten": "Of a map as a vector." {}
    "Transpose": "Of constants, and of maps where it only names their values in another way, as in a channel shuffle." {
        TRANSPOSE_CONSTANT: "`perm` names each axis once",
            "the file contradicts itself: export the model again";
    }
    "Constants": "What depends on constants alone is computed while importing, before any limit of maps is looked at; `Shape` and \
        `Size` read the shape of a map, with a batch of 1, a symbol too." {
        FOLD_CONSTANT: "operators that only constants are computed of read no maps; `Shape` and `Size` read a map's shape",
            "remove the node or replace it by supported operators; if it computes a shape, export the model with fixed ones";
        FOLD_OPERATOR: "nothing is random, has state or is run in a loop",
            "export the model for inference, with its loops unrolled";
        FOLD_ARGUMENTS: "axes, indices and sizes are whole numbers in range, and integers stay within their type",
            "the file contradicts itself: export the model again";
    }
    "Cast, CastLike": "Of maps to float or double: go away. To half precision and back: rounds." {
        CAST: "a map is cast to float or double, or to half precision and straight back: what computes in another type rounds or cuts off its values",
            "quantize the map with a quantizer, and export the model in single precision";
    }
    "Round, Floor, Ceil": "Quantizers of scale 1, whose ends a `Clip` gives. With a division in front and a product behind them, a \
        quantizer that is written out." {}
    "Abs": "The value without its sign." {}
    "Greater, GreaterOrEqual, Less, LessOrEqual, Equal, Sign": "1 where it holds, else 0; of a map and a constant, or of two maps." {}
    "Not, And, Or, Xor": "Of what comparisons make." {}
    "Where": "By what comparisons make, or by a constant for each channel." {}
    "Sum": "Of any number of maps and constants." {}
    "ReduceSum, ReduceMax, ReduceMin": "Sums along any dimensions; the greatest and the smallest of all pixels. Others behind the last layer." {}
    "Gather": "Slices along a dimension, by constant numbers: channels in any order." {}
    "Tile": "The whole several times along the channels; along others behind the last layer." {}
    "Behind the last layer": "`ReduceL1`, `ReduceL2`, `ReduceLogSum`, `ReduceLogSumExp`, `ReduceProd`, `ReduceSumSquare`, `CumSum`, \
        `Einsum`, `Expand`, `GatherElements`, `GatherND`, `Hardmax`, `IsInf`, `IsNaN`, `Mean`, `Mod`, `Shrink`, `Trilu`, \
        `LayerNormalization`, `InstanceNormalization`, `GroupNormalization`, `RMSNormalization`, `LpNormalization`, \
        `MeanVarianceNormalization`, `LRN`, `LpPool`, `GlobalLpPool`, `Det`, `ReverseSequence`, bitwise and trigonometric \
        functions, too: the host computes them." {}
    "ThresholdedRelu": "x where it is greater than alpha, else 0." {
        THRESHOLD_ALPHA: "alpha is not negative",
            "use an alpha of at least 0";
    }
    "QLinearConv, QLinearMatMul, QGemm, QLinearAdd, QLinearMul, QLinearConcat, QLinearGlobalAveragePool, QLinearAveragePool, \
QLinearSigmoid, QLinearLeakyRelu, ConvInteger, MatMulInteger": "The same as the operators in their names between `DequantizeLinear` and \
        `QuantizeLinear`." {
        QOPERATOR: "scales, zero points and biases are constants, and channels come first",
            "export the model in QDQ form";
    }
    "RequantShift": "Integers of PULP's tools: clip(floor((x * mul + add + div / 2) / div))." {
        REQUANT: "`mul` and `add` are whole numbers, one or one for each channel; `div`, `n_levels_out` and `signed` are whole numbers in attributes, the number of levels is even and at most 65536",
            "export the model again";
    }
    "Identity": "Goes away." {}
    "Dropout": "Goes away: this is inference." {}
    "Warnings": "What is read as it is written, with a word to the user." {
        OPTION_UNUSED: "an option changes something in the model",
            "leave the option away";
        OUTPUT_SIZES: "all accumulators that outputs are made of have the same rows and columns: they are computed on the largest grid",
            "compile a model for each output if the last layer takes too many cycles";
        INPUT_TYPE_FOUND: "an input without a quantizer has a type that the options say",
            "say what the input holds with --input-type, --input-scale and --input-zero-point";
        PIXELS_CLIPPED: "what 8-bit pixels become lies within the range of the input quantizer",
            "give the transform of the training with --pixel-scale and --pixel-offset";
        DROPOUT_TRAINING: "a `Dropout` goes away, for this is inference",
            "export the model for inference, with `training_mode` false";
        CLIP_OPSET: "the standard defines `Clip` of integers from opset 12 on; in older sets it is read as meant, but other tools may refuse it",
            "export the model with opset 13 or later";
    }
}

/// All limits, in the order of the list.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    GROUPS.iter().flat_map(|group| group.limits.iter().copied())
}

/// The list of what is supported, as Markdown.
pub fn supported() -> String {
    let mut text = String::from(
        "# Supported models\n\n\
         This list is generated from the limits that the importer checks; each line is what a refusal says.\n",
    );
    for group in GROUPS {
        write!(text, "\n## {}\n\n{}\n", group.title, group.meaning)
            .expect("strings take everything");
        for (i, limit) in group.limits.iter().enumerate() {
            let gap = if i == 0 { "\n" } else { "" };
            writeln!(text, "{gap}- {}", limit.sentence).expect("strings take everything");
        }
    }
    text.push_str(&sizes::section());
    text.push_str(EXPORTERS);
    text
}

/// What a file may say that its model did not mean.
const EXPORTERS: &str = "
## What exporters get wrong

A file is computed as it is written, and Brevitas (0.12.1 and 0.13.4 were tried) does not always write what was trained. What the file \
shows is refused or warned of:

- `QuantReLU`, `QuantIdentity` and `QuantHardTanh` of 1 bit with an integer quantizer come out as `BipolarQuant`. Where its input cannot \
be negative, it would be constantly +1: refused, unless `--unsigned-1bit-relu` says what is meant.
- QCDQ in opset 10 and 11 has a `Clip` of int8, which these do not define: read as meant, with a warning.

What no file shows:

- Weights that were trained with FLOOR, CEIL, ROUND_TO_ZERO or learned rounding come out with ROUND. Store weights as integers (QCDQ), \
which keeps them.
- The thresholds of ternary weights are lost in QONNX, and in QCDQ where the exporter is the one of torch.export, which is the default \
with 0.13.4: the file rounds. QCDQ with `dynamo=False` keeps them.
- Activations that were quantized with FLOOR or CEIL come out in QCDQ as `QuantizeLinear`, which rounds to nearest. QONNX keeps the mode.
- `TruncAvgPool2d` comes out in QCDQ as a mean that is rounded, or as a product with a power of two that float32 puts beside its ties. \
QONNX has its `Trunc`.
- A 1-bit integer quantizer whose input may be negative comes out as `BipolarQuant`, too, and looks like one that was meant.

The Python package takes the module itself, which still has all of this, and corrects the file from it. Otherwise \
compare the outputs of the trained model with those of `qnnsim eval --output` on some images: integers are exact, so any difference \
that is not a tie in float32 is in the file.
";
