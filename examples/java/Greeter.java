/** Greets whoever its argument names. */
public class Greeter {
    public static void main(String[] args) {
        if (args.length != 1) {
            System.err.println("usage: Greeter NAME");
            System.exit(2);
        }
        System.out.println("hello " + args[0]);
    }
}
