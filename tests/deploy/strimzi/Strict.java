import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.introspect.Annotated;
import com.fasterxml.jackson.databind.introspect.JacksonAnnotationIntrospector;
import io.fabric8.kubernetes.client.CustomResource;
import io.strimzi.api.kafka.Crds;
import io.strimzi.api.kafka.model.kafka.Kafka;
import io.strimzi.api.kafka.model.nodepool.KafkaNodePool;
import io.strimzi.api.kafka.model.topic.KafkaTopic;
import java.util.Map;

/**
 * Reads Strimzi's resources, a line of JSON each, with the classes that its operator reads them with, and writes them
 * again, or why they cannot be read. A property that a class does not know is refused; the operator would only warn.
 */
class Strict {
    private static final Map<String, Class<? extends CustomResource>> KINDS = Map.of(
            "Kafka", Kafka.class, "KafkaNodePool", KafkaNodePool.class, "KafkaTopic", KafkaTopic.class);

    public static void main(String[] arguments) throws Exception {
        var mapper = new ObjectMapper();
        mapper.setAnnotationIntrospector(new JacksonAnnotationIntrospector() {
            @Override
            public Boolean hasAnySetter(Annotated method) {
                return false; // which would take whatever is not known
            }
        });
        for (var line : new String(System.in.readAllBytes(), "UTF-8").split("\n")) {
            var given = mapper.readTree(line);
            var kind = KINDS.get(given.get("kind").asText());
            Object understood;
            if (!Crds.apiVersions(kind).contains(given.get("apiVersion").asText())) {
                understood = Map.of("refused", "no such version");
            } else {
                try {
                    understood = mapper.readValue(line, kind);
                } catch (JsonMappingException error) {
                    understood = Map.of("refused", error.getMessage());
                }
            }
            System.out.println(mapper.writeValueAsString(understood));
        }
    }
}
